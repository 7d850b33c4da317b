//! Which rules wear people out: how often each fired, and how often anybody did something about it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::alert::Fingerprint;
use super::history::{History, Kind};
use crate::base::clock::Millis;

/// What became of the alerts of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub fired: u64,
    /// Firings that somebody acknowledged.
    pub acknowledged: u64,
    /// Firings that were acknowledged and then ended, so that somebody probably did something.
    pub acted_on: u64,
    pub escalated: u64,
    /// Times that an alert began to flap.
    pub flapped: u64,
    /// Notifications that spoke of it.
    pub notifications: u64,
    /// 0: every firing was worth it. 100: very many, and nobody cares.
    pub score: f64,
}

/// Counts by the name of the rule, over what the history still has since a time.
pub fn tallies(history: &History, since: Millis, now: Millis) -> BTreeMap<String, Tally> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut acknowledged: HashSet<Fingerprint> = HashSet::new();
    let mut names: HashMap<Fingerprint, String> = HashMap::new();
    let mut first = now;
    for event in history.events().rev().filter(|event| event.time >= since) {
        first = first.min(event.time);
        let name = event.labels.get("alertname").unwrap_or("");
        let tally = count(&mut tallies, name);
        names.entry(event.fingerprint).or_insert_with(|| name.to_owned());
        match event.kind {
            Kind::Fired => {
                tally.fired += 1;
                acknowledged.remove(&event.fingerprint);
            }
            Kind::Acknowledged if acknowledged.insert(event.fingerprint) => tally.acknowledged += 1,
            Kind::Unacknowledged if acknowledged.remove(&event.fingerprint) => tally.acknowledged -= 1,
            Kind::Resolved if acknowledged.remove(&event.fingerprint) => tally.acted_on += 1,
            Kind::Escalated => tally.escalated += 1,
            Kind::Flapping => tally.flapped += 1,
            Kind::Acknowledged | Kind::Unacknowledged | Kind::Resolved => {}
        }
    }
    for sent in history.iter().filter(|sent| sent.time >= since) {
        let spoken: HashSet<_> = sent.alert_names.iter().collect();
        for name in spoken {
            count(&mut tallies, name).notifications += 1;
        }
    }
    // A span of a few minutes says little, so it counts as an hour.
    let days = (now.saturating_sub(first.max(since)) as f64 / 86_400_000.0).max(1.0 / 24.0);
    for tally in tallies.values_mut() {
        tally.score = score(tally, days);
    }
    tallies
}

fn count<'a>(tallies: &'a mut BTreeMap<String, Tally>, name: &str) -> &'a mut Tally {
    if !tallies.contains_key(name) {
        tallies.insert(name.to_owned(), Tally::default());
    }
    tallies.entry(name.to_owned()).or_default()
}

/// The share of firings that nobody cared for, weighed by how often it fires: ten ignored firings a day are 63 of 100,
/// one a week is 1. A firing that was acknowledged counts half, one that was acted on not at all.
fn score(tally: &Tally, days: f64) -> f64 {
    if tally.fired == 0 {
        return 0.0;
    }
    let fired = tally.fired as f64;
    let acted = (tally.acted_on as f64).min(fired);
    let seen = (tally.acknowledged as f64).min(fired) - acted;
    let ignored = (fired - acted - 0.5 * seen.max(0.0)) / fired;
    let load = 1.0 - (-(fired / days) / 10.0).exp();
    (1_000.0 * ignored * load).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Labels;
    use crate::notify::history::Event;

    #[test]
    fn a_rule_that_nobody_cares_for_has_a_high_score() {
        let mut history = History::default();
        let day = 86_400_000;
        let mut note = |kind, name: &str, time| {
            let labels = Labels::from_pairs([("alertname", name)]);
            history.note(Event::of(kind, Fingerprint::of(&labels), labels, time));
        };
        for n in 0..40 {
            note(Kind::Fired, "Noise", n * day / 40);
            note(Kind::Resolved, "Noise", n * day / 40 + 1_000);
        }
        note(Kind::Fired, "Real", day / 2);
        note(Kind::Acknowledged, "Real", day / 2 + 1_000);
        note(Kind::Resolved, "Real", day / 2 + 2_000);
        let tallies = tallies(&history, 0, day);
        let noise = &tallies["Noise"];
        assert_eq!((noise.fired, noise.acknowledged, noise.acted_on), (40, 0, 0));
        assert!(noise.score > 95.0, "{}", noise.score);
        let real = &tallies["Real"];
        assert_eq!((real.fired, real.acknowledged, real.acted_on, real.score), (1, 1, 1, 0.0));
    }
}
