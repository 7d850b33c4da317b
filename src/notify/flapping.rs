//! Flapping: alerts that fire and are resolved again and again.

use std::collections::{HashMap, VecDeque};

use super::alert::Fingerprint;
use super::settings::Flapping;
use crate::base::clock::Millis;

/// Changes that are remembered of one alert.
const CHANGES_MAX: usize = 1_000;

/// When each alert fired or was resolved, as far as it matters.
#[derive(Clone, Debug, Default)]
pub struct Flaps(HashMap<Fingerprint, VecDeque<Millis>>);

impl Flaps {
    /// Notes a change; says whether the alert flaps since this one.
    pub fn changed(&mut self, fingerprint: Fingerprint, settings: &Flapping, now: Millis) -> bool {
        let was = self.is_flapping(fingerprint, settings, now);
        let times = self.0.entry(fingerprint).or_default();
        times.push_back(now);
        if times.len() > CHANGES_MAX {
            times.pop_front();
        }
        !was && self.is_flapping(fingerprint, settings, now)
    }

    /// How often it changed within the window that ends now.
    pub fn changes(&self, fingerprint: Fingerprint, settings: &Flapping, now: Millis) -> usize {
        let oldest = now.saturating_sub(settings.window.as_millis());
        self.0.get(&fingerprint).map_or(0, |times| times.iter().rev().take_while(|time| **time > oldest).count())
    }

    pub fn is_flapping(&self, fingerprint: Fingerprint, settings: &Flapping, now: Millis) -> bool {
        settings.changes > 0 && self.changes(fingerprint, settings, now) >= settings.changes
    }

    /// Until when receivers are to take the alert for firing whatever it does; `None` where they hear everything.
    pub fn held_until(&self, fingerprint: Fingerprint, settings: &Flapping, now: Millis) -> Option<Millis> {
        if settings.hold.is_zero() {
            return None;
        }
        let last = *self.0.get(&fingerprint)?.back()?;
        let until = last.saturating_add(settings.hold.as_millis());
        (now < until && self.is_flapping(fingerprint, settings, last)).then_some(until)
    }

    /// Forgets changes that are too old to matter.
    pub fn forget(&mut self, settings: &Flapping, now: Millis) {
        let keep = settings.window.as_millis().max(settings.hold.as_millis());
        self.0.retain(|_, times| times.back().is_some_and(|last| last.saturating_add(keep) > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Period;

    #[test]
    fn an_alert_flaps_and_becomes_steady() {
        let settings = Flapping { changes: 4, window: Period::from_secs(60), hold: Period::from_secs(30) };
        let mut flaps = Flaps::default();
        let id = Fingerprint(1);
        let begun: Vec<bool> = (0..6).map(|n| flaps.changed(id, &settings, n * 1_000)).collect();
        assert_eq!(begun, [false, false, false, true, false, false]);
        assert_eq!(flaps.held_until(id, &settings, 6_000), Some(35_000));
        assert_eq!(flaps.held_until(id, &settings, 35_000), None);
        assert!(!flaps.is_flapping(id, &settings, 100_000));
        flaps.forget(&settings, 100_000);
        assert_eq!(flaps.changes(id, &settings, 5_000), 0);
    }
}
