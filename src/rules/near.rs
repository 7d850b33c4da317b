//! The metric that a name which nobody sends most likely stands for.
//!
//! Names of metrics are mistaken by words more than by letters: a word is missing, in another place, or in another form. So
//! words are compared, and letters only where words say nothing.

use std::collections::BTreeSet;

use crate::base::yaml::nearest::nearest;

/// The share of words that two names must have in common.
const SHARE_MIN: f64 = 0.6;

/// Letters that the beginnings of two forms of a word have in common (`percent`, `percentage`).
const STEM_MIN: usize = 5;

/// The nearest of the known names, or none where nothing is near.
pub fn near_metric<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let wanted = words(name);
    let mut best: Option<(f64, &'a str)> = None;
    for candidate in known.clone() {
        let share = share(&wanted, &words(candidate));
        if share >= SHARE_MIN && best.is_none_or(|(most, _)| share > most) {
            best = Some((share, candidate));
        }
    }
    match best {
        Some((_, found)) => Some(found),
        None => nearest(name, &known.collect::<Vec<_>>()),
    }
}

fn words(name: &str) -> BTreeSet<&str> {
    name.split(['_', ':', '.']).filter(|word| !word.is_empty()).collect()
}

/// Common words of all words.
#[expect(clippy::cast_precision_loss, reason = "names have few words")]
fn share(a: &BTreeSet<&str>, b: &BTreeSet<&str>) -> f64 {
    let common = a.iter().filter(|word| b.iter().any(|other| is_form(word, other))).count();
    let all = a.len() + b.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

/// Whether two words are the same, or forms of one.
fn is_form(a: &str, b: &str) -> bool {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a == b || common >= STEM_MIN && common * 5 >= a.len().max(b.len()) * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_missing_moved_or_bent_are_found() {
        let known = [
            "dwcp_amst_streams_active",
            "dwcp_amst_bytes_received_total",
            "dwcp_v3_bytes_transferred_total",
            "dwcp_consensus_latency_p95_seconds",
            "dwcp_hde_baseline_count",
            "dwcp_v3_rollout_progress_percent",
            "node_load5",
        ];
        for (name, expected) in [
            ("dwcp_amst_active_streams", Some("dwcp_amst_streams_active")),
            ("dwcp_amst_bytes_received", Some("dwcp_amst_bytes_received_total")),
            ("dwcp_bytes_transferred_total", Some("dwcp_v3_bytes_transferred_total")),
            ("dwcp_consensus_latency_seconds_bucket", Some("dwcp_consensus_latency_p95_seconds")),
            ("dwcp_hde_baselines_synced", Some("dwcp_hde_baseline_count")),
            ("dwcp_v3_rollout_percentage", Some("dwcp_v3_rollout_progress_percent")),
            ("node_laod5", Some("node_load5")),
            ("http_requests_total", None),
        ] {
            assert_eq!(near_metric(name, known.into_iter()), expected, "{name}");
        }
    }
}
