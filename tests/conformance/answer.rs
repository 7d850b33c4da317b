//! Compares two answers of the query API.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What was asked, and of how new a server.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) query: &'a str,
    pub(crate) newest: bool,
}

pub(crate) enum Verdict {
    Same,
    /// They differ where ties or rounding decide, or where the other server cannot answer.
    Undetermined,
    Differs(String),
}

/// Points of each series, by time in milliseconds and kind: a series may have a float and a histogram at one time.
type Points = BTreeMap<String, BTreeMap<(i64, &'static str), Value>>;

pub(crate) fn compare(asked: Asked<'_>, theirs: &Value, ours: &Value) -> Verdict {
    // Where rounding or ties may decide: to be looked through by hand, now and then.
    let strict = std::env::var_os("NOVASCOPE_STRICT").is_some();
    match unlike(asked, theirs, ours) {
        None => Verdict::Same,
        // Version 2 removes names early: series become equal that are not equal here.
        Some(_) if has_failed(theirs) && !asked.newest => Verdict::Undetermined,
        Some(_) if is_operator_behind_offset(theirs) => Verdict::Undetermined,
        Some(_) if is_beyond_what_they_read(asked.query) || !strict && is_undetermined(asked) => Verdict::Undetermined,
        Some(how) => Verdict::Differs(how),
    }
}

fn has_failed(answer: &Value) -> bool {
    answer["status"] != "success"
}

/// How two answers differ.
fn unlike(asked: Asked<'_>, theirs: &Value, ours: &Value) -> Option<String> {
    if has_failed(theirs) || has_failed(ours) {
        let same = theirs["error"] == ours["error"] && theirs["errorType"] == ours["errorType"];
        return (!same).then(|| format!("theirs {}, ours {}", brief(theirs), brief(ours)));
    }
    let (expected, actual) = (points(theirs, asked.newest), points(ours, asked.newest));
    let found = difference(&expected, &actual);
    if found.is_some() || !asked.newest {
        return found;
    }
    counts(asked.query, theirs, ours).or_else(|| {
        ["warnings", "infos"].into_iter().find_map(|kind| {
            let (expected, actual) = (texts(&theirs[kind]), texts(&ours[kind]));
            // Of more than ten both show ten, Prometheus those that come first in a map, and how many more there are.
            let cut = expected.iter().find(|text| text.ends_with("annotations omitted"));
            let same = expected == actual || cut.is_some_and(|cut| actual.contains(cut));
            (!same).then(|| format!("{kind}: theirs {expected:?}, ours {actual:?}"))
        })
    })
}

/// `x offset (5m) + y` is an error there, and what they print of `x offset (5m) @ 300 + y`: decision 10.
fn is_operator_behind_offset(theirs: &Value) -> bool {
    theirs["error"]
        .as_str()
        .is_some_and(|error| error.ends_with("in offset, expected number, duration, step(), or range()"))
}

/// `timestamp(x @ 300 offset -15s)` and `last_over_time((x @ 300)[1m:] offset -15s)`: Prometheus 3.14 ends what it reads
/// of `x` at 300 s and at 285 s. The former is to be 315, and the latter the value at 300, as it is without the subquery.
fn is_beyond_what_they_read(query: &str) -> bool {
    query.contains("offset -") && query.contains('@') && (query.contains(":") || query.contains("timestamp("))
}

/// Samples that each step looked at.
fn counts(query: &str, theirs: &Value, ours: &Value) -> Option<String> {
    // What joins of `info` and `smoothed` selectors read is counted otherwise.
    if query.contains("info(") || query.contains("smoothed") {
        return None;
    }
    let names = ["totalQueryableSamplesPerStep", "totalQueryableSamples", "samplesReadPerStep", "samplesRead"];
    // What a pinned subquery reads it reads once; Prometheus evaluates some functions of it at each step anew, and counts
    // the buckets that a mean has left empty.
    let compared = if query.contains('@') && query.contains(':') { 2 } else { 4 };
    names.into_iter().take(compared).find_map(|name| {
        let [theirs, ours] = [theirs, ours].map(|answer| &answer["data"]["stats"]["samples"][name]);
        (theirs != ours).then(|| format!("{name}: theirs {theirs}\n      ours   {ours}"))
    })
}

fn brief(answer: &Value) -> String {
    answer.to_string().chars().take(400).collect()
}

/// Annotations. How many samples a repair of buckets touched, Prometheus counts wrongly when it joins the counts of
/// steps; which of several wrong operands it tells of, depends on the order of its series.
fn texts(list: &Value) -> BTreeSet<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    let compared = texts.filter(|text| !text.contains("incompatible sample types encountered for binary operator"));
    let uncounted = |text: &str| match (text.find(", over "), text.find(" samples from ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    };
    compared.map(uncounted).collect()
}

/// Ties and rounding decide what such queries give.
fn is_undetermined(asked: Asked<'_>) -> bool {
    let Asked { query, newest } = asked;
    // Version 2 takes the deviation of one infinite value for 0, version 3 for no number.
    if !newest && ["stddev", "stdvar"].iter().any(|name| query.contains(name)) {
        return true;
    }
    let exact = [
        "count_values",
        "%",
        "==",
        "!=",
        ">",
        "<",
        "sgn",
        "ceil",
        "floor",
        "round",
        "changes",
        "resets",
        "ts_of",
        "hour",
        "day_of",
        "month",
    ];
    let rounds = [
        "stddev",
        "stdvar",
        "deriv",
        "predict",
        "avg",
        "rate",
        "increase",
        "quantile",
        "/",
        "^",
        "exp",
        "smoothing",
        "histogram_",
        "ln",
        "sin",
        "cos",
        "tan",
        "log",
        "rad",
        "deg",
        "smoothed",
        "sum",
        "delta",
    ];
    let any = |parts: &[&str]| parts.iter().any(|part| query.contains(part));
    query.contains("topk")
        || query.contains("bottomk")
        // Version 2.42 answers at the first step only.
        || (!newest && query.contains("predict_linear") && query.contains('@'))
        // A step of a subquery may fall on the start of a window; NaN was no reason for a deviation of NaN.
        || (!newest && (query.matches("ms:").count() > 1 || (query.contains("std") && query.contains("scalar"))))
        || (any(&exact) && any(&rounds))
}

fn points(answer: &Value, names: bool) -> Points {
    let mut all = Points::new();
    let data = &answer["data"];
    if data["resultType"] == "scalar" {
        let point = &data["result"];
        all.insert("scalar".to_owned(), [((millis(&point[0]), "value"), point[1].clone())].into());
        return all;
    }
    for result in data["result"].as_array().into_iter().flatten() {
        let labels: BTreeMap<&String, &Value> = result["metric"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| names || *name != "__name__")
            .collect();
        let series = all.entry(format!("{labels:?}")).or_default();
        for kind in ["values", "histograms"] {
            let points = result[kind].as_array().into_iter().flatten();
            series.extend(points.map(|point| ((millis(&point[0]), kind), point[1].clone())));
        }
        for kind in ["value", "histogram"] {
            let point = Some(&result[kind]).filter(|point| point.is_array());
            series.extend(point.map(|point| ((millis(&point[0]), kind), point[1].clone())));
        }
    }
    all
}

fn millis(time: &Value) -> i64 {
    (time.as_f64().unwrap_or(f64::NAN) * 1000.0).round() as i64
}

fn difference(expected: &Points, actual: &Points) -> Option<String> {
    if let Some(labels) = expected.keys().find(|labels| !actual.contains_key(*labels)) {
        return Some(format!("{labels} is missing"));
    }
    for (labels, points) in actual {
        let Some(wanted) = expected.get(labels) else { return Some(format!("{labels} should not be there")) };
        let times: BTreeSet<_> = points.keys().chain(wanted.keys()).copied().collect();
        for time in times {
            let (a, b) = (wanted.get(&time), points.get(&time));
            let agree = matches!((a, b), (Some(a), Some(b)) if agree(a, b));
            if !agree {
                let text = |point: Option<&Value>| point.map_or("nothing".to_owned(), Value::to_string);
                return Some(format!("{labels} at {time:?}:\n      theirs {}\n      ours   {}", text(a), text(b)));
            }
        }
    }
    None
}

/// Floats as text, histograms as objects.
fn agree(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b || close(float(a), float(b)),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| agree(a, b)))
        }
        _ => a == b,
    }
}

fn float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * (a.abs() + b.abs()) + 1e-6
}
