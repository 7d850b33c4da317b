//! What promtool says of an exposition: names, units, types and help as Prometheus' guide to naming wants them.
//!
//! Reads the text format as clients do, stricter than a scrape: a family is described once, before its samples, and its
//! labels have different names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Format, Options, Parser, parse_float};
use crate::model::metadata::MetricType;

/// What was found in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Metrics and what is wrong with them, in order.
    pub problems: Vec<(String, String)>,
    /// Families with their series, the largest first.
    pub series: Vec<(String, usize)>,
}

#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<MetricType>,
    /// The labels of each sample, in the order of the body.
    samples: Vec<Vec<(String, String)>>,
}

/// Units, and the one that each is measured in.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga", "gibi",
    "tera", "tebi", "peta", "pebi",
];

const ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// Looks a body of the text format through.
///
/// # Errors
/// Says where and why it cannot be read.
pub fn lint(body: &[u8]) -> Result<Found, String> {
    let families = families(body)?;
    let mut found = Found::default();
    for (name, family) in families.iter().filter(|(_, family)| !family.samples.is_empty()) {
        let problems = family.problems(name).into_iter().map(|why| (name.clone(), why));
        found.problems.extend(problems);
        found.series.push((name.clone(), family.samples.len()));
    }
    found.problems.sort();
    found.series.sort_by_key(|(_, series)| std::cmp::Reverse(*series));
    Ok(found)
}

fn families(body: &[u8]) -> Result<BTreeMap<String, Family>, String> {
    if !body.is_empty() && !body.ends_with(b"\n") {
        return Err("the last line has no end".to_owned());
    }
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut parser = Parser::new(body, Format::Text, Options::default()).map_err(|error| error.to_string())?;
    while let Some(entry) = parser.next().map_err(|error| error.to_string())? {
        match entry {
            Entry::Help { family, help } => {
                let known = families.entry(family.to_string()).or_default();
                if known.help.is_some() {
                    return Err(format!("second HELP line for metric name {family:?}"));
                }
                known.help = Some(help.into_owned()).filter(|help| !help.is_empty());
            }
            Entry::Type { family, kind } => {
                let known = families.entry(family.to_string()).or_default();
                if known.kind.is_some() || !known.samples.is_empty() {
                    return Err(format!("second TYPE line for metric name {family:?}, or TYPE reported after samples"));
                }
                known.kind = Some(kind);
            }
            Entry::Unit { .. } => {}
            Entry::Series(series) => {
                let name = series.pairs.metric_name().into_owned();
                let labels: Vec<(String, String)> =
                    series.pairs.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                let mut names = BTreeSet::new();
                if !labels.iter().all(|(label, _)| names.insert(label)) {
                    return Err(format!("duplicate label names for metric {name:?}"));
                }
                let family = family_of(&families, &name);
                let known = families.entry(family).or_default();
                let bound = labels.iter().find(|(label, _)| label == "le").map(|(_, bound)| bound);
                if known.kind == Some(MetricType::Histogram)
                    && let Some(bound) = bound.filter(|bound| parse_float(bound.as_bytes()).is_none())
                {
                    return Err(format!("expected float as value for 'le' label, got {bound:?}"));
                }
                known.samples.push(labels);
            }
        }
    }
    Ok(families)
}

/// The family that a sample belongs to: that of a histogram or summary where its name has one of their suffixes.
fn family_of(families: &BTreeMap<String, Family>, name: &str) -> String {
    let is = |family: &str, kinds: &[MetricType]| {
        families.get(family).and_then(|family| family.kind).is_some_and(|kind| kinds.contains(&kind))
    };
    let both = [MetricType::Histogram, MetricType::Summary];
    for (suffix, kinds) in [("_bucket", &both[..1]), ("_sum", &both[..]), ("_count", &both[..])] {
        if let Some(family) = name.strip_suffix(suffix).filter(|family| is(family, kinds)) {
            return family.to_owned();
        }
    }
    name.to_owned()
}

impl Family {
    fn problems(&self, name: &str) -> Vec<String> {
        let kind = self.kind.unwrap_or_default();
        let is_typed = kind != MetricType::Unknown;
        let mut problems = Vec::new();
        let mut say = |wrong: bool, why: &str| {
            if wrong {
                problems.push(why.to_owned());
            }
        };
        let lower = name.to_ascii_lowercase();
        let has_word = |word: &str| lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}"));
        say(self.help.is_none(), "no help text");
        if let Some((unit, base)) = unit(name).filter(|(unit, base)| unit != base) {
            say(true, &format!("use base unit {base:?} instead of {unit:?}"));
        }
        let is_total = name.ends_with("_total");
        say(kind == MetricType::Counter && !is_total, "counter metrics should have \"_total\" suffix");
        let is_other = is_typed && kind != MetricType::Counter;
        say(is_other && is_total, "non-counter metrics should not have \"_total\" suffix");
        let (is_histogram, is_summary) = (kind == MetricType::Histogram, kind == MetricType::Summary);
        let plain = is_typed && !is_histogram;
        say(plain && name.ends_with("_bucket"), "non-histogram metrics should not have \"_bucket\" suffix");
        for suffix in ["_count", "_sum"] {
            let why = format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix");
            say(plain && !is_summary && name.ends_with(suffix), &why);
        }
        let type_name = kind.name();
        say(is_typed && has_word(type_name), &format!("metric name should not include type '{type_name}'"));
        say(name.contains(':'), "metric names should not contain ':'");
        say(is_camel(name), "metric names should be written in 'snake_case' not 'camelCase'");
        let short = ABBREVIATIONS.iter().any(|word| has_word(word));
        say(short, "metric names should not contain abbreviated units");
        let labels = || self.samples.iter().flatten().map(|(label, _)| label.as_str());
        say(labels().any(is_camel), "label names should be written in 'snake_case' not 'camelCase'");
        say(plain && labels().any(|label| label == "le"), "non-histogram metrics should not have \"le\" label");
        let quantile = is_typed && !is_summary && labels().any(|label| label == "quantile");
        say(quantile, "non-summary metrics should not have \"quantile\" label");
        let mut seen = BTreeSet::new();
        let is_single = !is_histogram && !is_summary;
        say(is_single && !self.samples.iter().all(|labels| seen.insert(labels)), "metric not unique");
        problems
    }
}

/// The unit in a name, and its base.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, base)| *base);
    name.split('_').find_map(|word| {
        let bare = PREFIXES.iter().filter_map(|prefix| word.strip_prefix(prefix));
        std::iter::once(word).chain(bare).find_map(base).map(|base| (word, base))
    })
}

fn is_camel(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &[&str]) {
        let found = lint(body.as_bytes()).map(|found| found.problems);
        let said = match found {
            Ok(problems) => problems.iter().map(|(metric, why)| format!("{metric} {why}")).collect(),
            Err(why) => vec![format!("error: {why}")],
        };
        assert_eq!(said, expect, "{body}");
    }

    /// Bodies and what promtool 3.14 says of them.
    #[test]
    fn names_units_and_types_are_looked_at() {
        let of = |name: &str, kind: &str, sample: &str| format!("# HELP {name} x\n# TYPE {name} {kind}\n{sample}\n");
        check(&of("a_total", "counter", "a_total 1"), &[]);
        check(&of("a", "counter", "a 1"), &["a counter metrics should have \"_total\" suffix"]);
        check(&of("a_total", "gauge", "a_total 1"), &["a_total non-counter metrics should not have \"_total\" suffix"]);
        check("a_total 1\n", &["a_total no help text"]);
        check(&of("aB", "gauge", "aB 1"), &["aB metric names should be written in 'snake_case' not 'camelCase'"]);
        let camel = "a label names should be written in 'snake_case' not 'camelCase'";
        check(&of("a", "gauge", "a{fooBar=\"x\"} 1"), &[camel]);
        check(&of("a:b", "gauge", "a:b 1"), &["a:b metric names should not contain ':'"]);
        let unit = "a_milliseconds use base unit \"seconds\" instead of \"milliseconds\"";
        check(&of("a_milliseconds", "gauge", "a_milliseconds 1"), &[unit]);
        check(&of("a_seconds", "gauge", "a_seconds 1"), &[]);
        let both = [
            "a_gauge_b metric name should not include type 'gauge'",
            "a_gauge_b metric names should not contain abbreviated units",
        ];
        check(&of("a_gauge_b", "gauge", "a_gauge_b 1"), &both);
        check(&of("a", "histogram", "a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1"), &[]);
        check(&of("a", "summary", "a{quantile=\"0.5\"} 1\na_sum 1\na_count 1"), &[]);
        check(&of("a", "gauge", "a{le=\"1\"} 1"), &["a non-histogram metrics should not have \"le\" label"]);
        check(&of("a", "gauge", "a{quantile=\"1\"} 1"), &["a non-summary metrics should not have \"quantile\" label"]);
        check(&of("a", "gauge", "a{x=\"1\"} 1\na{x=\"2\"} 2\na{x=\"1\"} 3"), &["a metric not unique"]);
        check("# HELP a\n# TYPE a gauge\na 1\n", &["a no help text"]);
        check("# TYPE a gauge\n", &[]);
    }

    #[test]
    fn bodies_that_clients_cannot_read_are_refused() {
        for (body, why) in [
            ("a 1\n# TYPE a gauge\n", "TYPE reported after samples"),
            ("# HELP a x\n# HELP a y\na 1\n", "second HELP"),
            ("a{x=\"1\",x=\"2\"} 1\n", "duplicate label names"),
            ("# TYPE a histogram\na_bucket{le=\"x\"} 1\n", "'le' label"),
            ("a 1", "has no end"),
            ("a x\n", "1:3"),
            ("# TYPE a foo\na 1\n", "1:"),
        ] {
            let error = lint(body.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    #[test]
    fn families_are_counted() {
        let found = lint(b"a 1\nb{x=\"1\"} 1\nb{x=\"2\"} 1\n").unwrap();
        assert_eq!(found.series, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
    }
}
