//! Scripts as commands.

use novascope::promql::duration;

use crate::series::{self, SeriesLine};

/// One step of a script.
pub(crate) enum Command {
    Clear,
    Load { with_nhcb: bool, step: i64, series: Vec<SeriesLine> },
    Eval(Box<Eval>),
}

/// When a query is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A condition on a text.
pub(crate) enum Text {
    Any,
    Equal(String),
    Regex(regex::Regex),
}

impl Text {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Equal(expected) => expected == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A query and what it is expected to give.
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) times: Times,
    pub(crate) expr: String,
    pub(crate) fail: Option<Text>,
    pub(crate) warnings: Vec<Text>,
    pub(crate) infos: Vec<Text>,
    pub(crate) no_warnings: bool,
    pub(crate) no_infos: bool,
    pub(crate) ordered: bool,
    pub(crate) string: Option<String>,
    pub(crate) range_vector: Option<(i64, i64, i64)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<SeriesLine>,
}

/// Reads a whole script.
pub(crate) fn parse(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let blank = |line: &str| line.is_empty() || line.starts_with('#');
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let number = at + 1;
        at += 1;
        if blank(line) {
            continue;
        }
        let begin = at;
        let body = || {
            let end = begin + lines[begin..].iter().position(|line| blank(line)).unwrap_or(lines.len() - begin);
            (&lines[begin..end], end)
        };
        if line == "clear" {
            commands.push(Command::Clear);
        } else if let Some(rest) = line.strip_prefix("load") {
            let (lines, end) = body();
            at = end;
            let (with_nhcb, step) = match rest.strip_prefix("_with_nhcb") {
                Some(step) => (true, step),
                None => (false, rest),
            };
            commands.push(Command::Load { with_nhcb, step: millis(step.trim()), series: series::load(lines) });
        } else if line.starts_with("eval") {
            let (lines, end) = body();
            at = end;
            commands.push(Command::Eval(Box::new(eval(number, line, lines))));
        } else {
            panic!("line {number}: unknown command {line:?}");
        }
    }
    commands
}

/// A duration in milliseconds; a plain number is in seconds.
pub(crate) fn millis(text: &str) -> i64 {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match text.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0) as i64,
        Err(_) => duration::parse(text).unwrap_or_else(|error| panic!("duration {text:?}: {error}")),
    };
    sign * value
}

/// Cuts off the first word.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).map_or((text, ""), |(first, rest)| (first, rest.trim_start()))
}

fn eval(line: usize, head: &str, body: &[&str]) -> Eval {
    let (command, rest) = word(head);
    let (mode, rest) = word(rest);
    let (times, expr) = if mode == "instant" {
        match word(rest) {
            ("at", rest) => {
                let (time, expr) = word(rest);
                (Times::Instant(millis(time)), expr)
            }
            _ => (Times::Instant(0), rest),
        }
    } else {
        let mut times = [0; 3];
        let mut rest = rest;
        for time in &mut times {
            let (text, after) = word(word(rest).1);
            *time = millis(text);
            rest = after;
        }
        (Times::Range { start: times[0], end: times[1], step: times[2] }, rest)
    };
    let mut eval = Eval {
        line,
        times,
        expr: expr.to_owned(),
        fail: (command == "eval_fail").then_some(Text::Any),
        warnings: if command == "eval_warn" { vec![Text::Any] } else { Vec::new() },
        infos: if command == "eval_info" { vec![Text::Any] } else { Vec::new() },
        no_warnings: false,
        no_infos: false,
        ordered: command == "eval_ordered",
        string: None,
        range_vector: None,
        scalar: None,
        series: Vec::new(),
    };
    for line in body {
        expect(&mut eval, line);
    }
    eval
}

fn expect(eval: &mut Eval, line: &str) {
    if let Some(rest) = line.strip_prefix("expect string ") {
        eval.string = Some(novascope::promql::quote::unquote(rest.trim()).expect("a quoted string"));
    } else if let Some(rest) = line.strip_prefix("expect range vector from ") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        eval.range_vector = Some((millis(words[0]), millis(words[2]), millis(words[4])));
    } else if let Some(rest) = line.strip_prefix("expect ") {
        let (kind, rest) = word(rest);
        let text = if let Some(text) = rest.strip_prefix("msg:") {
            Text::Equal(text.trim().to_owned())
        } else if let Some(text) = rest.strip_prefix("regex:") {
            Text::Regex(regex::Regex::new(text.trim()).expect("a regular expression"))
        } else {
            Text::Any
        };
        match kind {
            "fail" => eval.fail = Some(text),
            "warn" => eval.warnings.push(text),
            "info" => eval.infos.push(text),
            "no_warn" => eval.no_warnings = true,
            "no_info" => eval.no_infos = true,
            "ordered" => eval.ordered = true,
            other => panic!("unknown expectation {other:?}"),
        }
    } else if let Some(text) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Text::Equal(text.trim().to_owned()));
    } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Text::Regex(regex::Regex::new(text.trim()).expect("a regular expression")));
    } else if let Some(value) = series::number(line) {
        eval.scalar = Some(value);
    } else {
        eval.series.push(series::line(line));
    }
}
