//! What became of a request: counts by kind, refusals by reason, a few messages for the sender.

use std::fmt::Write as _;

use crate::metrics::Refusal;
use crate::server::error::Kind;

/// How many refusals are told in full; the others are counted.
const MESSAGES_MAX: usize = 8;

/// One message is cut here, so that a label value of megabytes does not come back.
const MESSAGE_BYTES_MAX: usize = 400;

/// Counts of one request.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Float samples taken.
    pub samples: u64,
    /// Native histograms taken.
    pub histograms: u64,
    pub exemplars: u64,
    /// Refused samples and histograms, for each reason. Reasons are few, so a list will do.
    rejected: Vec<(&'static str, u64)>,
    messages: Vec<String>,
    /// Something was refused because the store takes nothing now: the whole request should be sent again.
    pub read_only: bool,
    /// Something was refused because the sender is too fast.
    pub too_fast: bool,
}

impl Report {
    /// Counts `count` refused samples. The message is only made while there is room for it.
    pub fn reject(&mut self, reason: &'static str, count: u64, message: impl FnOnce() -> String) {
        match self.rejected.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, total)) => *total += count,
            None => self.rejected.push((reason, count)),
        }
        if self.messages.len() < MESSAGES_MAX {
            let mut message = message();
            if message.len() > MESSAGE_BYTES_MAX {
                message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
                message.push('…');
            }
            if !self.messages.contains(&message) {
                self.messages.push(message);
            }
        }
    }

    /// Notes what a refusal says of the request as a whole.
    pub fn note(&mut self, refusal: &Refusal) {
        self.read_only |= refusal.is_unavailable();
        self.too_fast |= refusal.is_too_fast();
    }

    /// What the whole request is to be answered with, where part of it should come again.
    pub fn again(&self) -> Option<Kind> {
        if self.read_only { Some(Kind::Unavailable) } else { self.too_fast.then_some(Kind::RateLimited) }
    }

    /// Adds what became of another part of the same body.
    pub fn merge(&mut self, other: Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.read_only |= other.read_only;
        self.too_fast |= other.too_fast;
        for (reason, count) in other.rejected {
            match self.rejected.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, total)) => *total += count,
                None => self.rejected.push((reason, count)),
            }
        }
        let room = MESSAGES_MAX.saturating_sub(self.messages.len());
        self.messages.extend(other.messages.into_iter().take(room));
    }

    /// Whether nothing was refused.
    pub fn is_clean(&self) -> bool {
        self.rejected.is_empty()
    }

    /// How many samples and histograms were refused.
    pub fn rejected(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    /// Refusals by reason.
    pub fn reasons(&self) -> &[(&'static str, u64)] {
        &self.rejected
    }

    /// For the sender: counts by reason, then the first messages.
    /// `unit` names what was counted, `taken` is how many of it were not refused.
    pub fn message(&self, unit: &str, taken: u64) -> String {
        let mut text = format!("{} of {} {unit} refused (", self.rejected(), self.rejected() + taken);
        for (at, (reason, count)) in self.rejected.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{reason}: {count}");
        }
        text.push(')');
        for message in &self.messages {
            let _ = write!(text, "; {message}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason_and_told_up_to_a_limit() {
        let mut report = Report { samples: 7, ..Report::default() };
        assert!(report.is_clean());
        report.reject("too_old", 2, || "x".repeat(1000));
        for n in 0..20 {
            report.reject("duplicate_timestamp", 1, || format!("at {n}"));
        }
        let text = report.message("samples", report.samples);
        assert!(text.starts_with("22 of 29 samples refused (too_old: 2, duplicate_timestamp: 20); xxx"), "{text}");
        assert!(text.ends_with("; at 6") && text.len() < 700, "{text}");
    }
}
