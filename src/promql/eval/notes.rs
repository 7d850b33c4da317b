//! Annotations: what a user should know about an answer.
//!
//! Texts are those of Prometheus (`util/annotations`), because dashboards and tests match them. Equal texts are kept
//! once, at the place where they came up last.

use indexmap::IndexMap;

use crate::model::float_text::{general, two_digits};
use crate::model::labels::Quoted;
use crate::promql::ast::Span;
use crate::promql::source;

/// The operation on histograms that a note is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Info,
}

/// A note, by what tells it from others.
#[derive(Clone, Debug)]
struct Note {
    level: Level,
    span: Span,
    detail: Detail,
}

/// What is gathered over all places where a note came up.
#[derive(Clone, Debug)]
enum Detail {
    Plain,
    /// Of `histogram_quantile` over buckets that were not monotonic.
    Monotonicity {
        times: (i64, i64),
        buckets: (f64, f64),
        difference: f64,
        count: u64,
    },
    /// Of start timestamps that overlap samples.
    Occurrences(u64),
}

/// Notes of a query, or of one thread's part of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    annotations: IndexMap<String, Note>,
    /// What the source said; without a place in the query.
    source: source::Notes,
}

impl Notes {
    fn add(&mut self, text: String, note: Note) {
        use indexmap::map::Entry;
        match self.annotations.entry(text) {
            Entry::Vacant(entry) => {
                entry.insert(note);
            }
            Entry::Occupied(mut entry) => entry.get_mut().merge(note),
        }
    }

    fn warn(&mut self, text: &str, span: Span) {
        self.add(format!("PromQL warning: {text}"), Note { level: Level::Warning, span, detail: Detail::Plain });
    }

    fn info(&mut self, text: &str, span: Span) {
        self.add(format!("PromQL info: {text}"), Note { level: Level::Info, span, detail: Detail::Plain });
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (text, note) in other.annotations {
            self.add(text, note);
        }
        self.source(other.source);
    }

    /// Whether there is anything that has a place in the query.
    pub(super) fn has_annotations(&self) -> bool {
        !self.annotations.is_empty()
    }

    /// Passes on what a source said.
    pub(super) fn source(&mut self, notes: source::Notes) {
        for (mine, theirs) in [(&mut self.source.warnings, notes.warnings), (&mut self.source.infos, notes.infos)] {
            for text in theirs {
                if !mine.contains(&text) {
                    mine.push(text);
                }
            }
        }
    }

    /// Warnings and infos with their place in the query.
    pub(super) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let mut texts = (self.source.warnings.clone(), self.source.infos.clone());
        for (text, note) in &self.annotations {
            let place = place(query, note.span);
            let line = match &note.detail {
                Detail::Plain | Detail::Occurrences(1) => format!("{text} ({place})"),
                Detail::Occurrences(count) => format!("{text} ({count} occurrences) ({place})"),
                Detail::Monotonicity { times, buckets, difference, count } => format!(
                    "{text}, from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {} ({place})",
                    general(buckets.0),
                    general(buckets.1),
                    two_digits(*difference),
                    rfc3339(times.0),
                    rfc3339(times.1),
                ),
            };
            match note.level {
                Level::Warning => texts.0.push(line),
                Level::Info => texts.1.push(line),
            }
        }
        texts
    }

    pub(super) fn invalid_quantile(&mut self, q: f64, span: Span) {
        self.warn(&format!("quantile value should be between 0 and 1, got {}", general(q)), span);
    }

    pub(super) fn invalid_ratio(&mut self, ratio: f64, cap: f64, span: Span) {
        let (ratio, cap) = (general(ratio), general(cap));
        self.warn(&format!("ratio value should be between -1 and 1, got {ratio}, capping to {cap}"), span);
    }

    pub(super) fn bad_bucket_label(&mut self, metric: &str, value: &str, span: Span) {
        let value = Quoted(value);
        let text = format!("bucket label \"le\" is missing or has a malformed value of {value}{}", of_metric(metric));
        self.warn(&text, span);
    }

    pub(super) fn mixed_types(&mut self, metric: &str, span: Span) {
        let metric = Quoted(metric);
        self.warn(&format!("encountered a mix of histograms and floats for metric name {metric}"), span);
    }

    pub(super) fn mixed_types_in_aggregation(&mut self, span: Span) {
        self.warn("encountered a mix of histograms and floats for aggregation", span);
    }

    pub(super) fn mixed_classic_and_native(&mut self, metric: &str, span: Span) {
        self.warn(&format!("vector contains a mix of classic and native histograms{}", of_metric(metric)), span);
    }

    pub(super) fn not_counter(&mut self, metric: &str, span: Span) {
        self.warn(&format!("this native histogram metric is not a counter: {}", Quoted(metric)), span);
    }

    pub(super) fn not_gauge(&mut self, metric: &str, span: Span) {
        self.warn(&format!("this native histogram metric is not a gauge: {}", Quoted(metric)), span);
    }

    pub(super) fn mixed_schemas(&mut self, metric: &str, span: Span) {
        let metric = Quoted(metric);
        self.warn(
            &format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric}"
            ),
            span,
        );
    }

    pub(super) fn incompatible_buckets(&mut self, operator: &str, span: Span) {
        self.warn(&format!("incompatible bucket layout encountered for binary operator {operator}"), span);
    }

    pub(super) fn sort_in_range(&mut self, span: Span) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.warn(text, span);
    }

    pub(super) fn reset_collision(&mut self, operation: Operation, span: Span) {
        self.warn(&format!("conflicting counter resets during histogram {}", operation.name()), span);
    }

    pub(super) fn start_overlap(&mut self, metric: &str, span: Span) {
        let metric = Quoted(metric);
        let text = format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric {metric}"
        );
        self.add(text, Note { level: Level::Warning, span, detail: Detail::Occurrences(1) });
    }

    pub(super) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        let metric = Quoted(metric);
        let text = format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric}");
        self.info(&text, span);
    }

    pub(super) fn forced_monotonicity(&mut self, metric: &str, fix: Monotonicity, span: Span) {
        let text = format!(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            of_metric(metric)
        );
        let detail = Detail::Monotonicity {
            times: (fix.time, fix.time),
            buckets: fix.buckets,
            difference: fix.difference,
            count: 1,
        };
        self.add(text, Note { level: Level::Info, span, detail });
    }

    pub(super) fn incompatible_types(&mut self, left: &str, operator: &str, right: &str, span: Span) {
        let text = format!(
            "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
            Quoted(operator)
        );
        self.info(&text, span);
    }

    pub(super) fn ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.info(&format!("ignored histogram in {aggregation} aggregation"), span);
    }

    pub(super) fn ignored_in_range(&mut self, metric: &str, span: Span) {
        let metric = Quoted(metric);
        let text =
            format!("ignored histograms in a range containing both floats and histograms for metric name {metric}");
        self.info(&text, span);
    }

    pub(super) fn quantile_is_nan(&mut self, metric: &str, span: Span) {
        let text = format!("input to histogram_quantile has NaN observations, result is NaN{}", of_metric(metric));
        self.info(&text, span);
    }

    pub(super) fn quantile_is_skewed(&mut self, metric: &str, span: Span) {
        let metric = of_metric(metric);
        self.info(&format!("input to histogram_quantile has NaN observations, result is skewed higher{metric}"), span);
    }

    pub(super) fn fraction_without_nan(&mut self, metric: &str, span: Span) {
        let metric = of_metric(metric);
        let text =
            format!("input to histogram_fraction has NaN observations, which are excluded from all fractions{metric}");
        self.info(&text, span);
    }

    pub(super) fn bounds_reconciled(&mut self, operation: Operation, span: Span) {
        self.info(&format!("mismatched custom buckets were reconciled during {}", operation.name()), span);
    }
}

/// How buckets were made monotonic at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monotonicity {
    pub(super) time: i64,
    /// Lowest and highest bound where a count was raised.
    pub(super) buckets: (f64, f64),
    pub(super) difference: f64,
}

impl Note {
    fn merge(&mut self, later: Self) {
        match (&mut self.detail, later.detail) {
            (
                Detail::Monotonicity { times, buckets, difference, count },
                Detail::Monotonicity { times: t, buckets: b, difference: d, count: c },
            ) => {
                *times = (times.0.min(t.0), times.1.max(t.1));
                *buckets = (buckets.0.min(b.0), buckets.1.max(b.1));
                *difference = difference.max(d);
                *count += c;
            }
            (Detail::Occurrences(count), Detail::Occurrences(more)) => *count += more,
            _ => self.span = later.span,
        }
    }
}

fn of_metric(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {}", Quoted(metric)) }
}

/// `line:column` of the start of a span, counted from 1; columns are bytes, as in Prometheus.
fn place(query: &str, span: Span) -> String {
    let start = (span.start as usize).min(query.len());
    let before = &query.as_bytes()[..start];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = start - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
    format!("{line}:{column}")
}

fn rfc3339(time: i64) -> String {
    jiff::Timestamp::from_second(time.div_euclid(1000)).map_or_else(|_| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_notes_are_told_once_with_their_place() {
        let mut notes = Notes::default();
        let query = "a +\n  rate(b[5m])";
        notes.mixed_types("b", Span { start: 0, end: 1 });
        notes.mixed_types("b", Span { start: 11, end: 12 });
        notes.forced_monotonicity(
            "",
            Monotonicity { time: 60_000, buckets: (1.0, 2.0), difference: 3.0 },
            Span::default(),
        );
        notes.forced_monotonicity(
            "",
            Monotonicity { time: 120_000, buckets: (0.5, 1.0), difference: 1.0 },
            Span::default(),
        );
        let (warnings, infos) = notes.texts(query);
        assert_eq!(
            warnings,
            ["PromQL warning: encountered a mix of histograms and floats for metric name \"b\" (2:8)"]
        );
        assert!(infos[0].ends_with(
            "from buckets 0.5 to 2, with a max diff of 3, over 2 samples from 1970-01-01T00:01:00Z to \
             1970-01-01T00:02:00Z (1:1)"
        ));
    }
}
