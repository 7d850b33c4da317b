//! What is kept for how long: classes of series, each with the oldest time of its raw samples and of each tier.
//!
//! A series belongs to every class whose matchers it fulfils, and what any of them keeps stays; the first class is that of
//! the series that no other takes. Blocks go by their newest sample, so nothing goes before its time.

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

use super::tier::TIER_MS;

/// Classes that can be told apart in a block.
pub const CLASSES_MAX: usize = 64;

/// How long before raw samples go the windows are made that outlive them, in milliseconds.
const AHEAD_MS: i64 = 86_400_000;

/// What may stay. Times are inclusive: what is before them goes. `i64::MIN` keeps everything, `i64::MAX` nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By the clock that is behind: windows that are not over may yet get samples.
    pub now: Millis,
    /// Widths of the windows that are made, ascending.
    pub tiers: Vec<i64>,
    /// The first is for series that no other class takes.
    pub classes: Vec<Class>,
    /// When all block files are larger than this, the oldest go.
    pub bytes_max: Option<u64>,
}

/// Series that are kept alike.
#[derive(Clone, Debug)]
pub struct Class {
    /// All of them have to hold; the first class has none.
    pub matchers: Vec<Matcher>,
    /// The oldest raw sample that stays.
    pub raw: i64,
    /// The oldest window that stays, for each width of the policy.
    pub tiers: Vec<i64>,
}

impl Default for Policy {
    /// Windows of a minute, and everything stays. All windows are over.
    fn default() -> Self {
        let all = Class { matchers: Vec::new(), raw: i64::MIN, tiers: vec![i64::MIN] };
        Self { now: i64::MAX, tiers: vec![TIER_MS], classes: vec![all], bytes_max: None }
    }
}

impl Class {
    fn takes(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
    }

    /// The oldest of a resolution that stays. Windows of a width that is no longer made are kept as the next wider
    /// ones are, so that another setting does not take history away at once.
    fn oldest(&self, tiers: &[i64], resolution: i64) -> i64 {
        if resolution == 0 {
            return self.raw;
        }
        let at = tiers.partition_point(|width| *width < resolution).min(tiers.len().saturating_sub(1));
        self.tiers.get(at).copied().unwrap_or(self.raw)
    }
}

impl Policy {
    /// Whether a block with this newest time may go as a whole.
    pub(super) fn is_over(&self, resolution: i64, newest: i64) -> bool {
        self.classes.iter().all(|class| newest < class.oldest(&self.tiers, resolution))
    }

    /// The classes whose samples in such a block should be gone, by bit.
    pub(super) fn over(&self, resolution: i64, newest: i64) -> u64 {
        let classes = self.classes.iter().take(CLASSES_MAX).enumerate();
        let over = classes.filter(|(_, class)| newest < class.oldest(&self.tiers, resolution));
        over.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// Whether the samples of a series in such a block should be gone.
    pub(super) fn is_series_over(&self, labels: &Labels, resolution: i64, newest: i64) -> bool {
        let mut named =
            self.classes.iter().skip(1).take(CLASSES_MAX - 1).filter(|class| class.takes(labels)).peekable();
        let over = |class: &Class| newest < class.oldest(&self.tiers, resolution);
        match named.peek() {
            Some(_) => named.all(over),
            None => self.classes.first().is_some_and(over),
        }
    }

    /// Whether raw samples of this age are soon gone while their windows are still to be kept.
    pub(super) fn is_leaving(&self, resolution: i64, newest: i64) -> bool {
        self.classes.iter().any(|class| {
            let soon = newest < class.raw.saturating_add(AHEAD_MS);
            soon && class.oldest(&self.tiers, resolution) < class.raw && newest >= class.oldest(&self.tiers, resolution)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matcher::MatchOp;

    #[test]
    fn what_any_class_keeps_stays() {
        let class = |label: &str, raw, tiers: [i64; 2]| {
            let matchers =
                label.split_once('=').map(|(name, value)| Matcher::new(MatchOp::Regex, name, value).unwrap());
            Class { matchers: matchers.into_iter().collect(), raw, tiers: tiers.to_vec() }
        };
        let classes = vec![
            class("", 700, [300, 100]),
            class("__name__=dwcp.*", 200, [200, 100]),
            class("job=debug", 900, [900, 900]),
        ];
        let policy = Policy { now: i64::MAX, tiers: vec![10, 60], classes, bytes_max: None };
        let over = |name: &str, job: &str, resolution, newest| {
            let labels = Labels::from_pairs([("__name__", name), ("job", job)]);
            policy.is_series_over(&labels, resolution, newest)
        };
        assert!(over("up", "vm", 0, 699) && !over("up", "vm", 0, 700));
        assert!(over("up", "debug", 60, 899) && !over("up", "vm", 60, 899));
        assert!(!over("dwcp_consensus", "vm", 0, 200));
        assert!(!over("dwcp_consensus", "debug", 0, 500), "one class keeps it");
        assert!(policy.is_over(0, 199) && !policy.is_over(0, 200));
        assert_eq!((policy.over(0, 800), policy.over(60, 800), policy.over(0, 100)), (4, 4, 7));
        // A width that is not made any more is kept as the next wider one.
        assert!(!over("up", "vm", 30, 100) && over("up", "vm", 30, 99) && !over("up", "vm", 3_600, 100));
    }
}
