//! What to write instead: for mistakes that rule files have again and again.

use crate::base::yaml::nearest::nearest;
use crate::promql::functions::FUNCTIONS;
use crate::promql::parse::ParseError;
use crate::rules::expansion;

/// A fault of an expression in other words than the parser's, with what to do about it.
pub struct Advice {
    /// Replaces the parser's message where it says less.
    pub message: Option<String>,
    /// Byte of the expression that the fault is about, where it is not the parser's.
    pub at: Option<usize>,
    pub hint: Option<String>,
}

/// What is worth saying about an expression that cannot be parsed.
pub fn advice(expr: &str, error: &ParseError) -> Advice {
    if let Some((at, variable)) = variable(expr) {
        return Advice {
            message: Some(format!("variable {variable} is not expanded here")),
            at: Some(at),
            hint: Some(
                "write its value, or let a generator put it in; a label matcher may hold a dollar in quotes".into(),
            ),
        };
    }
    Advice { message: None, at: None, hint: hint(expr, error) }
}

fn hint(expr: &str, error: &ParseError) -> Option<String> {
    let message = error.message.as_str();
    let word = word_at(expr, error.span.start as usize);
    if matches!(word, "by" | "without") || message.contains("<by>") || message.contains("<without>") {
        let word = if word == "without" { "without" } else { "by" };
        return Some(format!(
            "{word} (…) belongs to an aggregation and stands beside its operator: sum {word} (job) (…), or sum(…) {word} (job)"
        ));
    }
    if message.contains("unknown function") {
        let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        return nearest(word, &names).map(|near| format!("did you mean {near}?"));
    }
    if message.contains("expected type range vector") {
        return Some("add a range: the function looks at a span of time, as in rate(x[5m])".to_owned());
    }
    if message.contains("expected type instant vector") && message.contains("got range vector") {
        return Some("take the range [..] away, or put a function such as rate around it".to_owned());
    }
    if expr.contains("|=") || expr.contains("| json") || expr.contains("|~") {
        return Some("this looks like LogQL; rules here are PromQL".to_owned());
    }
    if message.contains("unexpected end of input") || message.contains("unclosed") {
        return Some("something is not closed or not finished".to_owned());
    }
    None
}

/// Line and column of a template that its error is about, both from 1, as far as the error says them.
pub(super) fn template_place(text: &str, error: &str) -> (usize, usize) {
    let after_name = error.strip_prefix("template: ").and_then(|rest| rest.split_once(": ").map(|(place, _)| place));
    let mut numbers = after_name.unwrap_or("").split(':').skip(1).map(|part| part.parse::<usize>().ok());
    let line = numbers.next().flatten().unwrap_or(1);
    if let Some(column) = numbers.next().flatten() {
        return (line, column.max(1));
    }
    // The error names what it is about; where that stands once, that is the place.
    let about = error.split('"').nth(1).unwrap_or("");
    let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let found = if about.is_empty() { None } else { shown.find(about) };
    (line, found.or_else(|| shown.find("{{")).map_or(1, |at| at + 1))
}

/// What to write instead of a function or variable that does not exist.
pub(super) fn template_hint(error: &str) -> Option<String> {
    let name = error.split('"').nth(1)?;
    if error.contains("undefined variable") {
        let known = ["$labels", "$value", "$externalLabels", "$externalURL"];
        return Some(match nearest(name, &known) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the variables are {}", known.join(", ")),
        });
    }
    if error.contains("not defined") {
        let known = expansion::function_names();
        return nearest(name, &known).map(|near| format!("did you mean {near}?"));
    }
    (error.contains("unclosed") || error.contains("unexpected EOF") || error.contains("unterminated"))
        .then(|| "every {{ needs its }}, and every if, range and with its {{ end }}".to_owned())
}

/// The first `${NAME}` or `%{NAME}` outside quotes, and where.
fn variable(expr: &str) -> Option<(usize, &str)> {
    let mut quote = None;
    for (at, c) in expr.char_indices() {
        match (quote, c) {
            (None, '"' | '\'' | '`') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '$' | '%') => {
                let rest = expr.get(at..)?;
                let Some(inside) = rest.get(1..).and_then(|rest| rest.strip_prefix('{')) else { continue };
                let end = inside.find('}')?;
                let name = inside.get(..end)?;
                if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    return rest.get(..end + 3).map(|variable| (at, variable));
                }
            }
            _ => {}
        }
    }
    None
}

/// The identifier that begins at a byte.
fn word_at(expr: &str, at: usize) -> &str {
    let rest = expr.get(at..).unwrap_or("");
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    rest.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::parse;

    #[track_caller]
    fn check(expr: &str, expected: &str) {
        let advice = advice(expr, &parse(expr).unwrap_err());
        let got = format!("{} {}", advice.message.unwrap_or_default(), advice.hint.unwrap_or_default());
        assert!(got.contains(expected), "{expr}: {got:?}");
    }

    #[test]
    fn common_mistakes_get_a_hint() {
        check("(sum(rate(a[5m])) / sum(rate(b[5m]))) by (cluster)", "sum by (job)");
        check("sum(up by (job))", "sum by (job)");
        check("up > ${LIMIT}", "variable ${LIMIT} is not expanded");
        check("up > %{LIMIT}", "variable %{LIMIT} is not expanded");
        check("raate(up[5m])", "did you mean rate?");
        check("rate(up)", "rate(x[5m])");
        check("{job=\"a\"} |= \"x\"", "LogQL");
        check("sum(up", "not closed");
    }
}
