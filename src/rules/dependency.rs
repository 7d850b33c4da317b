//! Which rules of a group must wait for which.
//!
//! The outcome is that of evaluating the rules one after the other in the order of the file, as Prometheus does by
//! default: a rule sees what earlier rules of the same iteration wrote, and what later ones wrote in the last one. Rules
//! that do not touch each other's series are on one level and may run at the same time.

use std::collections::HashMap;

use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{Expr, ExprKind};
use crate::rules::rule::Rule;

/// The series that all alerting rules write.
const ALERT_SERIES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Indices of rules, level by level.
pub fn levels(rules: &[Rule]) -> Vec<Vec<usize>> {
    let mut levels: Vec<Vec<usize>> = Vec::new();
    let mut before = Before::default();
    for (index, rule) in rules.iter().enumerate() {
        let reads = reads(&rule.expr);
        let level = before.level(rule, &reads);
        before.note(rule, &reads, level);
        if levels.len() <= level {
            levels.resize(level + 1, Vec::new());
        }
        if let Some(level) = levels.get_mut(level) {
            level.push(index);
        }
    }
    levels
}

/// The first levels that are free of the rules seen so far. 0 means that nobody is in the way.
#[derive(Default)]
struct Before {
    after_writer: HashMap<String, usize>,
    after_reader: HashMap<String, usize>,
    after_any_writer: usize,
    /// Behind readers that may read anything.
    after_open_reader: usize,
}

impl Before {
    fn level(&self, rule: &Rule, reads: &Reads) -> usize {
        let written = writes(rule);
        let after = |map: &HashMap<String, usize>, name: &str| map.get(name).copied().unwrap_or(0);
        let mut level = self.after_open_reader;
        for name in &written {
            level = level.max(after(&self.after_reader, name));
            // Alerting rules write different series of the same name.
            if rule.alerting().is_none() {
                level = level.max(after(&self.after_writer, name));
            }
        }
        match reads {
            Reads::Anything => level.max(self.after_any_writer),
            Reads::Names(names) => names.iter().map(|name| after(&self.after_writer, name)).fold(level, usize::max),
        }
    }

    fn note(&mut self, rule: &Rule, reads: &Reads, level: usize) {
        let next = level + 1;
        let raise = |map: &mut HashMap<String, usize>, name: &str| {
            let slot = map.entry(name.to_owned()).or_insert(0);
            *slot = next.max(*slot);
        };
        for name in writes(rule) {
            raise(&mut self.after_writer, name);
        }
        self.after_any_writer = self.after_any_writer.max(next);
        match reads {
            Reads::Anything => self.after_open_reader = self.after_open_reader.max(next),
            Reads::Names(names) => names.iter().for_each(|name| raise(&mut self.after_reader, name)),
        }
    }
}

fn writes(rule: &Rule) -> Vec<&str> {
    if rule.alerting().is_some() { ALERT_SERIES.to_vec() } else { vec![&rule.name] }
}

/// Whether an expression reads what any of the rules writes.
pub fn reads_written(expr: &Expr, rules: &[Rule]) -> bool {
    match reads(expr) {
        Reads::Anything => true,
        Reads::Names(names) => names.iter().any(|name| rules.iter().any(|rule| writes(rule).contains(&name.as_str()))),
    }
}

/// Metric names that an expression reads.
#[derive(Debug, PartialEq, Eq)]
enum Reads {
    Names(Vec<String>),
    /// A selector without a fixed name.
    Anything,
}

fn reads(expr: &Expr) -> Reads {
    let mut names = Vec::new();
    if collect(expr, &mut names).is_some() { Reads::Names(names) } else { Reads::Anything }
}

/// `None` as soon as a selector has no fixed name.
fn collect(expr: &Expr, names: &mut Vec<String>) -> Option<()> {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => collect(inner, names)?,
        ExprKind::Binary(binary) => {
            collect(&binary.left, names)?;
            collect(&binary.right, names)?;
        }
        ExprKind::Aggregate(aggregate) => {
            collect(&aggregate.expr, names)?;
            aggregate.param.iter().try_for_each(|param| collect(param, names))?;
        }
        // Looks for series of its own.
        ExprKind::Call(call) if &*call.function == "info" => return None,
        ExprKind::Call(call) => call.args.iter().try_for_each(|arg| collect(arg, names))?,
        ExprKind::Selector(selector) => names.extend(fixed_names(&selector.matchers)?),
        ExprKind::Matrix(matrix) => names.extend(fixed_names(&matrix.selector.matchers)?),
        ExprKind::Subquery(subquery) => collect(&subquery.expr, names)?,
    }
    Some(())
}

fn fixed_names(matchers: &[Matcher]) -> Option<Vec<String>> {
    let name = matchers
        .iter()
        .find(|matcher| &*matcher.name == METRIC_NAME && matches!(matcher.op, MatchOp::Equal | MatchOp::Regex))?;
    name.set_values().map(|set| set.iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::file::read;

    #[track_caller]
    fn check(rules: &[(&str, &str)], expected: &[&[usize]]) {
        let mut text = String::from("groups:\n- name: g\n  rules:\n");
        for (name, expr) in rules {
            let kind = if name.starts_with('A') { "alert" } else { "record" };
            text.push_str(&format!("  - {{{kind}: '{name}', expr: '{expr}'}}\n"));
        }
        assert_eq!(levels(&read("r", &text, 1).unwrap()[0].rules), expected);
    }

    #[test]
    fn chains_wait_and_strangers_do_not() {
        check(&[("a", "x"), ("b", "y"), ("A1", "z > 1"), ("A2", "z > 2")], &[&[0, 1, 2, 3]]);
        check(&[("a", "x"), ("b", "sum(rate(a[5m]))"), ("c", "y"), ("A", "b > c")], &[&[0, 2], &[1], &[3]]);
        // A reader before the writer sees the last iteration.
        check(&[("b", "a"), ("a", "x")], &[&[0], &[1]]);
        check(&[("a", "x"), ("b", "{job=\"j\"}"), ("c", "y")], &[&[0], &[1], &[2]]);
        check(&[("A1", "x"), ("a", "ALERTS{alertname=\"A1\"}"), ("A2", "y")], &[&[0], &[1], &[2]]);
        check(&[("a", "x"), ("b", "{__name__=~\"a|c\"}")], &[&[0], &[1]]);
        check(&[("a", "x"), ("a", "y")], &[&[0], &[1]]);
    }
}
