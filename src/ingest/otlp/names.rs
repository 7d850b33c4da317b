//! Names from OTLP to series: the rules of OpenTelemetry's Prometheus compatibility document as Prometheus applies them.

use std::borrow::Cow;

use super::config::{Config, Strategy};

/// What kind of OTLP metric a name belongs to, as far as names care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    MonotonicSum,
    Gauge,
    Other,
}

/// A name that has no translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("metric name is empty")]
    EmptyMetric,
    #[error("metric name {0:?} has no character that a series name can have")]
    NothingLeft(String),
    #[error("attribute key is empty")]
    EmptyLabel,
    #[error("attribute key {0:?} has no character that a label name can have")]
    OnlyUnderscores(String),
}

/// UCUM units and the words that Prometheus uses for them.
const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units after a slash, in the singular.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

fn word<'a>(table: &[(&str, &'a str)], unit: &'a str) -> &'a str {
    table.iter().find(|(ucum, _)| *ucum == unit).map_or(unit, |(_, word)| word)
}

/// `By/s` as (`bytes`, `per_second`); annotations in braces say nothing about the unit and give nothing.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let usable = |part: &str| !part.is_empty() && !part.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if usable(main) { word(&UNITS, main).to_owned() } else { String::new() };
    let per = if usable(per) { format!("per_{}", word(&PER_UNITS, per)) } else { String::new() };
    (main, per)
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// A unit with classic characters only, runs of `_` collapsed, none in front.
fn clean_unit(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_metric_char(c) {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean.strip_prefix('_').map(str::to_owned).unwrap_or(clean)
}

/// The unit as metadata names it: `By/s` is `bytes_per_second`.
pub fn unit_name(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        _ => per,
    };
    let trimmed = joined.strip_prefix('_').unwrap_or(&joined);
    trimmed.strip_suffix('_').unwrap_or(trimmed).to_owned()
}

/// The name of the metric family.
///
/// # Errors
/// Where nothing usable is left of the name.
pub fn metric_name(strategy: Strategy, name: &str, unit: &str, kind: NameKind) -> Result<String, NameError> {
    let translated = match strategy {
        Strategy::UnderscoreEscapingWithSuffixes => from_tokens(name, unit, kind),
        Strategy::UnderscoreEscapingWithoutSuffixes => escaped(name),
        Strategy::NoUtf8EscapingWithSuffixes => suffixed(name, unit, kind),
        Strategy::NoTranslation => name.to_owned(),
    };
    if translated.is_empty() {
        return Err(if name.is_empty() { NameError::EmptyMetric } else { NameError::NothingLeft(name.to_owned()) });
    }
    if translated != name && translated.bytes().all(|b| b == b'_') {
        return Err(NameError::NothingLeft(name.to_owned()));
    }
    Ok(translated)
}

fn from_tokens(name: &str, unit: &str, kind: NameKind) -> String {
    let mut tokens: Vec<&str> = name.split(|c| !is_metric_char(c)).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if tokens.contains(&per) { "" } else { per };
    let main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    tokens.extend([main, per].into_iter().filter(|suffix| !suffix.is_empty()));
    let last = match kind {
        NameKind::MonotonicSum => Some("total"),
        // Counters of objects are often sent with unit 1 as well; only gauges are surely ratios.
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    not_a_digit_first(tokens.join("_"))
}

fn escaped(name: &str) -> String {
    let parts: Vec<&str> = name.split(|c| !is_metric_char(c) && c != '_').filter(|part| !part.is_empty()).collect();
    not_a_digit_first(parts.join("_"))
}

fn not_a_digit_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn suffixed(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = unit_suffixes(unit);
    let mut tail = String::new();
    let mut name = name;
    match kind {
        NameKind::MonotonicSum => {
            name = without_suffix(name, "total");
            tail = "_total".to_owned();
        }
        NameKind::Gauge if unit == "1" => {
            name = without_suffix(name, "ratio");
            tail = "_ratio".to_owned();
        }
        _ => {}
    }
    if !per.is_empty() {
        name = without_suffix(name, &per);
        tail = format!("_{per}{tail}");
    }
    if main.is_empty() || name.ends_with(main.as_str()) {
        format!("{name}{tail}")
    } else {
        format!("{name}_{main}{tail}")
    }
}

/// Cuts a suffix and the character before it, which is taken for a delimiter.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    match name.strip_suffix(suffix) {
        Some(head) if head.len() > 1 => {
            let mut chars = head.chars();
            chars.next_back();
            chars.as_str()
        }
        _ => name,
    }
}

/// The label that an attribute key becomes.
///
/// # Errors
/// Where nothing usable is left of the key.
pub fn label_name<'a>(config: &Config, key: &'a str) -> Result<Cow<'a, str>, NameError> {
    if key.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    let name = if config.translation_strategy.escapes() { escaped_label(config, key) } else { Cow::Borrowed(key) };
    if name.bytes().all(|b| b == b'_') {
        return Err(NameError::OnlyUnderscores(key.to_owned()));
    }
    Ok(name)
}

fn escaped_label<'a>(config: &Config, key: &'a str) -> Cow<'a, str> {
    let keep_runs = config.label_name_preserve_multiple_underscores;
    let starts_badly = key.starts_with(|c: char| c.is_ascii_digit())
        || (config.label_name_underscore_sanitization && key.starts_with('_') && !key.starts_with("__"));
    let is_plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain && !starts_badly && (keep_runs || !key.contains("__")) {
        return Cow::Borrowed(key);
    }
    let reserved = if keep_runs { None } else { key.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) };
    let mut name = String::with_capacity(key.len() + 4);
    let mut after_underscore = false;
    for c in reserved.unwrap_or(key).chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
            after_underscore = false;
        } else if keep_runs || !after_underscore {
            name.push('_');
            after_underscore = true;
        }
    }
    if reserved.is_some() {
        name = format!("__{name}__");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if config.label_name_underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Gauge, MonotonicSum, Other};

    #[track_caller]
    fn check(name: &str, unit: &str, kind: NameKind, expect: [&str; 4]) {
        let all = [
            Strategy::UnderscoreEscapingWithSuffixes,
            Strategy::NoUtf8EscapingWithSuffixes,
            Strategy::UnderscoreEscapingWithoutSuffixes,
            Strategy::NoTranslation,
        ];
        assert_eq!(all.map(|strategy| metric_name(strategy, name, unit, kind).unwrap()), expect);
    }

    #[test]
    fn units_and_types_are_appended_once() {
        check(
            "system.disk.io",
            "By",
            MonotonicSum,
            ["system_disk_io_bytes_total", "system.disk.io_bytes_total", "system_disk_io", "system.disk.io"],
        );
        check(
            "http.total.requests_total",
            "{request}",
            MonotonicSum,
            [
                "http_requests_total",
                "http.total.requests_total",
                "http_total_requests_total",
                "http.total.requests_total",
            ],
        );
        check(
            "cpu.utilization.ratio",
            "1",
            Gauge,
            ["cpu_utilization_ratio", "cpu.utilization_ratio", "cpu_utilization_ratio", "cpu.utilization.ratio"],
        );
        check("memory.bytes", "By", Gauge, ["memory_bytes", "memory.bytes", "memory_bytes", "memory.bytes"]);
        check(
            "net.io",
            "MiBy/s",
            Other,
            ["net_io_mebibytes_per_second", "net.io_mebibytes_per_second", "net_io", "net.io"],
        );
        check(
            "queue.length",
            "1",
            MonotonicSum,
            ["queue_length_total", "queue.length_total", "queue_length", "queue.length"],
        );
    }

    #[test]
    fn odd_names_stay_legal() {
        check(
            "2xx  rate",
            "foo/bar",
            Gauge,
            ["_2xx_rate_foo_per_bar", "2xx  rate_foo_per_bar", "_2xx_rate", "2xx  rate"],
        );
        check("a__b", "°F", Gauge, ["a_b_F", "a__b_°F", "a__b", "a__b"]);
        assert_eq!(metric_name(Strategy::default(), "ü", "", Gauge), Err(NameError::NothingLeft("ü".to_owned())));
        assert_eq!(metric_name(Strategy::NoTranslation, "", "", Gauge), Err(NameError::EmptyMetric));
    }

    #[test]
    fn units_of_metadata() {
        assert_eq!(
            ["By/s", "1", "{thing}", "s", "m/s", "°F"].map(unit_name),
            ["bytes_per_second", "", "", "seconds", "meters_per_second", "F"]
        );
    }

    #[test]
    fn labels_follow_the_options() {
        let mut config = Config::default();
        let all = |config: &Config| {
            ["http.method", "1st", "_a", "__a__b__", "a..b", "plain"]
                .map(|key| label_name(config, key).unwrap().into_owned())
        };
        assert_eq!(all(&config), ["http_method", "key_1st", "key_a", "__a__b__", "a__b", "plain"]);
        config.label_name_preserve_multiple_underscores = false;
        config.label_name_underscore_sanitization = false;
        assert_eq!(all(&config), ["http_method", "key_1st", "_a", "__a_b__", "a_b", "plain"]);
        assert_eq!(label_name(&config, "."), Err(NameError::OnlyUnderscores(".".to_owned())));
        config.translation_strategy = Strategy::NoTranslation;
        assert_eq!(all(&config), ["http.method", "1st", "_a", "__a__b__", "a..b", "plain"]);
        assert_eq!(label_name(&config, ""), Err(NameError::EmptyLabel));
    }
}
