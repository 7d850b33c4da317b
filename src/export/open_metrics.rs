//! OpenMetrics 1.0 with times, as promtool's `tsdb create-blocks-from openmetrics` reads it.
//!
//! A family is a metric name: the format wants the points of a histogram together, which series by series they are
//! not, so the parts of histograms and summaries leave as families of type `unknown`. Counters keep their type where
//! their name ends as the format asks. It has no word for staleness markers and native histograms: they are left out
//! and counted. NaNs lose their payload. Times are exact.

use std::collections::{BTreeMap, BTreeSet};

use super::Window;
use crate::model::float_text;
use crate::model::labels::{METRIC_NAME, is_classic_label_name, is_classic_metric_name};
use crate::model::metadata::{Metadata, MetricType};
use crate::model::sample::is_stale;

/// What was written, and what the format cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub samples: u64,
    pub stale_markers: u64,
    pub histograms: u64,
    /// Series without a name.
    pub nameless: u64,
}

/// Types and help texts by the names of samples, as they are announced.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<String, (String, Metadata)>);

impl Families {
    /// From what senders said of the metrics with these names.
    pub fn new(names: &BTreeSet<String>, metadata: impl Fn(&str) -> Option<Metadata>) -> Self {
        let family = |name: &String| {
            let said = metadata(name);
            let base = name.strip_suffix("_total").filter(|base| !names.contains(*base));
            let kind = said.as_ref().map_or(MetricType::Unknown, |said| said.kind);
            let help = said.map(|said| said.help).unwrap_or_default();
            let (family, kind) = match (kind, base) {
                (MetricType::Counter, Some(base)) => (base.to_owned(), MetricType::Counter),
                (MetricType::Gauge, _) => (name.clone(), MetricType::Gauge),
                _ => (name.clone(), MetricType::Unknown),
            };
            (name.clone(), (family, Metadata { kind, help, unit: String::new() }))
        };
        Self(names.iter().map(family).collect())
    }

    /// Announces the family of a metric name.
    pub fn push(&self, out: &mut Vec<u8>, name: &str) {
        let Some((family, metadata)) = self.0.get(name) else { return };
        let mut family_text = Vec::new();
        push_name(&mut family_text, family);
        for (word, text) in [("TYPE", metadata.kind.name()), ("HELP", &metadata.help)] {
            if text.is_empty() {
                continue;
            }
            out.extend_from_slice(b"# ");
            out.extend_from_slice(word.as_bytes());
            out.push(b' ');
            out.extend_from_slice(&family_text);
            out.push(b' ');
            push_escaped(out, text);
            out.push(b'\n');
        }
    }
}

/// The end of every body.
pub const EOF: &[u8] = b"# EOF\n";

/// Appends the samples of a window.
pub fn push(out: &mut Vec<u8>, window: &Window<'_>, tally: &mut Tally) {
    let name = window.labels.metric_name();
    if name.is_empty() {
        tally.nameless += u64::from(window.is_first);
        return;
    }
    let mut series = Vec::new();
    push_series(&mut series, window);
    let column = window.column;
    for (place, (&time, &value)) in column.times.iter().zip(&column.values).enumerate() {
        if column.histograms.get(place).is_some_and(Option::is_some) {
            tally.histograms += 1;
        } else if is_stale(value) {
            tally.stale_markers += 1;
        } else {
            tally.samples += 1;
            out.extend_from_slice(&series);
            out.push(b' ');
            out.extend_from_slice(float_text::general(value).as_bytes());
            out.push(b' ');
            push_seconds(out, time);
            out.push(b'\n');
        }
    }
}

fn push_series(out: &mut Vec<u8>, window: &Window<'_>) {
    let name = window.labels.metric_name();
    let mut separator = b'{';
    if is_classic_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'{');
        push_quoted(out, name);
        separator = b',';
    }
    for (label, value) in window.labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        out.push(separator);
        separator = b',';
        if is_classic_label_name(label) {
            out.extend_from_slice(label.as_bytes());
        } else {
            push_quoted(out, label);
        }
        out.push(b'=');
        push_quoted(out, value);
    }
    if separator == b',' {
        out.push(b'}');
    }
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    if is_classic_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_quoted(out, name);
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.push(other),
        }
    }
}

/// Milliseconds as seconds, exactly.
fn push_seconds(out: &mut Vec<u8>, ms: i64) {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    let text = format!("{sign}{}.{:03}", ms / 1000, ms % 1000);
    out.extend_from_slice(text.as_bytes());
}
