//! Burn-rate alerts as rules: groups that the rule engine runs like any other, over a backend that answers their
//! queries from ledgers.
//!
//! The query that the API shows for such a rule works on recorded series, so that a link to a graph shows something; the
//! rule itself is not evaluated from it: what is recorded now and then would fire at other seconds.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::sample;
use crate::promql::ast::Expr;
use crate::promql::eval::Common;
use crate::promql::parse::parse;
use crate::promql::print::format;
use crate::promql::quote::quote_str as quote;
use crate::rules::file;
use crate::rules::rule::GroupSpec;
use crate::rules::seam::{Backend, RuleSample};
use crate::slo::burn::{BurnAlert, Pair};
use crate::slo::engine::{Engine, Live};
use crate::slo::maintenance::counted;
use crate::slo::objective::{Dialect, Objective, Pairs};
use crate::slo::view::Tallies;
use crate::slo::window::days;

/// How long nothing may come before an absent alert begins to hold.
const ABSENT: Millis = 300_000;

/// An alert of an objective.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What stands for it in the API, in canonical form.
    pub query: String,
    live: Arc<Live>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Burn(Vec<Pair>),
    Absent,
}

/// The alerts of an objective.
pub fn rules_of(live: &Arc<Live>) -> Vec<Rule> {
    let objective = &live.objective;
    let burns = objective.alerts.iter().map(|alert| (burn_query(objective, alert), What::Burn(alert.pairs.clone())));
    let absent = objective.absent.iter().map(|_| (absent_query(objective), What::Absent));
    burns.chain(absent).map(|(query, what)| Rule { query, live: Arc::clone(live), what }).collect()
}

fn selector(objective: &Objective, name: &str, window: Option<Millis>) -> String {
    let mut matchers = vec![format!("slo={}", quote(&objective.name))];
    if !objective.service.is_empty() {
        matchers.push(format!("service={}", quote(&objective.service)));
    }
    matchers.extend(window.map(|window| format!("window=\"{}\"", days(Period::from_millis(window)))));
    format!("{name}{{{}}}", matchers.join(","))
}

fn burn_query(objective: &Objective, alert: &BurnAlert) -> String {
    let above = |window: Millis, pair: &Pair| {
        format!("{} {} {}", selector(objective, "novascope_slo_burn_rate", Some(window)), pair.op.symbol(), pair.factor)
    };
    let pair = |pair: &Pair| match pair.short {
        0 => above(pair.long, pair),
        short => format!("({} and ignoring (window) {})", above(pair.long, pair), above(short, pair)),
    };
    let pairs: Vec<String> = alert.pairs.iter().map(pair).collect();
    canonical(&pairs.join(" or ignoring (window) "))
}

fn absent_query(objective: &Objective) -> String {
    canonical(&format!("absent({})", selector(objective, "novascope_slo_sli", None)))
}

fn canonical(query: &str) -> String {
    parse(query).map_or_else(|_| query.to_owned(), |expr| format(&expr))
}

/// The groups of rules that alert on these objectives.
pub fn groups(objectives: &[Arc<Objective>], interval: Millis) -> Vec<GroupSpec> {
    let mut all = Vec::new();
    for objective in objectives {
        let mut rules = Vec::new();
        for alert in &objective.alerts {
            let what = (alert.name.as_str(), burn_query(objective, alert), alert.hold);
            rules.push(rule(what, &alert.labels, &alert.annotations));
        }
        if let Some(absent) = &objective.absent {
            let what = (absent.name.as_str(), absent_query(objective), absent.hold);
            rules.push(rule(what, &absent.labels, &absent.annotations));
        }
        if rules.is_empty() {
            continue;
        }
        let interval = Period::from_millis(interval).to_string();
        let text =
            json!({"groups": [{"name": format!("slo {}", objective.id()), "interval": interval, "rules": rules}]});
        match file::read(&objective.file, &text.to_string(), 1_000) {
            Ok(groups) => all.extend(groups),
            // Checked when the objective was read; see `check`.
            Err(faults) => {
                let fault = faults.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(slo = %objective.id(), fault, "the alerts of this objective cannot be run");
            }
        }
    }
    all
}

/// What is wrong with labels and annotations of the alerts of an objective, and what to write instead.
pub fn check(objective: &Objective) -> Result<(), (String, Option<String>)> {
    let all = objective.alerts.iter().map(|alert| (&alert.name, &alert.labels, &alert.annotations));
    let absent = objective.absent.iter().map(|alert| (&alert.name, &alert.labels, &alert.annotations));
    for (name, labels, annotations) in all.chain(absent) {
        let rules = [rule((name, "vector(1)".to_owned(), 0), labels, annotations)];
        let text = json!({"groups": [{"name": "g", "rules": rules}]});
        file::read("", &text.to_string(), 1_000)
            .map_err(|faults| faults.into_iter().next().map(|fault| (fault.message, fault.hint)).unwrap_or_default())
            // The group and the rule are not its author's.
            .map_err(|(why, hint)| (why.split_once("rule 1, ").map_or(&*why, |(_, why)| why).to_owned(), hint))?;
    }
    Ok(())
}

fn rule((name, query, hold): (&str, String, Millis), labels: &Pairs, annotations: &Pairs) -> Value {
    let map = |pairs: &Pairs| pairs.iter().map(|(n, v)| (n.clone(), json!(v))).collect::<Map<_, _>>();
    let hold = Period::from_millis(hold).to_string();
    json!({"alert": name, "expr": query, "for": hold, "labels": map(labels), "annotations": map(annotations)})
}

/// A backend that knows the alerts of objectives; everything else is the inner one's.
pub struct SloBackend {
    pub inner: Arc<dyn Backend>,
    pub engine: Engine,
}

impl Backend for SloBackend {
    fn query(&self, text: &str, expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        let state = self.engine.state();
        match state.rules.get(text) {
            Some(rule) => rule.evaluate(&self.engine, time),
            None => self.inner.query(text, expr, time),
        }
    }

    fn query_in_common(
        &self,
        (text, expr): (&str, &Expr),
        time: Millis,
        common: &Common,
    ) -> Result<Vec<RuleSample>, String> {
        let state = self.engine.state();
        match state.rules.get(text) {
            Some(rule) => rule.evaluate(&self.engine, time),
            None => self.inner.query_in_common((text, expr), time, common),
        }
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        self.inner.append(batches)
    }

    fn is_sent(&self, metric: &str, time: Millis) -> bool {
        // Rules about objectives read ledgers, whatever is recorded.
        metric.starts_with("novascope_slo_") || self.inner.is_sent(metric, time)
    }

    fn near_metric(&self, name: &str) -> Option<String> {
        self.inner.near_metric(name)
    }

    fn has_changed(&self) -> bool {
        self.inner.has_changed()
    }

    fn last_samples(&self, matchers: &[Matcher], range: (Millis, Millis)) -> Result<Vec<RuleSample>, String> {
        self.inner.last_samples(matchers, range)
    }
}

impl Rule {
    /// The groups that the alert holds for.
    fn evaluate(&self, engine: &Engine, time: Millis) -> Result<Vec<RuleSample>, String> {
        let objective = &self.live.objective;
        let mut found = Vec::new();
        match &self.what {
            What::Burn(pairs) => {
                for (group, value) in burning(engine, (&self.live, pairs), time)? {
                    let labels = alert_labels(objective, &group);
                    found.push(RuleSample { labels, time, value: sample::Value::Float(value) });
                }
            }
            What::Absent => {
                if engine.view(&self.live, time, time - ABSENT)?.is_absent(ABSENT)? {
                    let labels = alert_labels(objective, &Labels::empty());
                    found.push(RuleSample { labels, time, value: sample::Value::Float(1.0) });
                }
            }
        }
        Ok(found)
    }
}

/// Groups for which a pair holds, with the value of the alert.
fn burning(engine: &Engine, (live, pairs): (&Live, &[Pair]), time: Millis) -> Result<Vec<(Labels, f64)>, String> {
    let objective = &live.objective;
    let longest = pairs.iter().map(|pair| pair.long.max(pair.short)).max().unwrap_or(0);
    let mut view = engine.view(live, time, time - longest)?;
    let allowed = 1.0 - objective.target;
    let mut found: Vec<(Labels, f64)> = Vec::new();
    for pair in pairs {
        let mut tallies: Vec<Tallies> = Vec::new();
        // The short window comes first: mostly nothing burns, and it is the cheaper one to look at.
        for length in [pair.short, pair.long].into_iter().filter(|length| *length > 0) {
            let spans = counted(&live.maintenance, time - length, time);
            let is_whole = spans == [(time - length, time)];
            // Far below the factor, exact counts decide nothing.
            let is_above = !matches!(pair.op, crate::slo::terms::Comparison::Greater)
                || !is_whole
                || view.bound(length)?.is_none_or(|bound| bound > 0.5 * pair.factor * allowed);
            if !is_above {
                tallies.clear();
                break;
            }
            tallies.push(view.tally(&spans, |_| false)?);
        }
        let Some(long) = tallies.last() else { continue };
        for (group, tally) in long {
            let holds = |tallies: &Tallies| {
                let rate = tallies.get(group).and_then(|tally| tally.burn_rate(objective.target));
                rate.is_some_and(|rate| crate::slo::terms::Condition { op: pair.op, value: pair.factor }.holds(rate))
            };
            let is_known = found.iter().any(|(known, _)| known == group);
            if !is_known && tally.total >= objective.min_events && tallies.iter().all(holds) {
                let error = tally.error_ratio().unwrap_or(0.0);
                let value = if objective.dialect == Dialect::Own { error / allowed } else { error };
                found.push((group.clone(), value));
            }
        }
    }
    Ok(found)
}

/// The labels that the element of an alert has, before those of the rule.
fn alert_labels(objective: &Objective, group: &Labels) -> Labels {
    let mut pairs = match objective.dialect {
        Dialect::Own | Dialect::OpenSlo => objective.identity(),
        Dialect::Sloth => crate::slo::record::sloth_labels(objective),
        Dialect::Pyrra => {
            let mut pairs = objective.labels.clone();
            pairs.insert("slo".to_owned(), objective.name.to_string());
            pairs
        }
    };
    pairs.extend(group.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    Labels::from_pairs(pairs)
}
