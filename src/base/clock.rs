//! Wall time and monotonic time, real or simulated.

#![allow(clippy::disallowed_methods, reason = "this is the seam that the ban points to")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, as in a sample's timestamp.
pub type Millis = i64;

/// A source of time. Clones share the same source.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks; the instant is the zero of [`Clock::monotonic`].
    Real(Instant),
    /// Moves only when told to.
    Simulated(Arc<SimClock>),
}

impl Clock {
    /// The machine's clocks.
    pub fn real() -> Self {
        Self::Real(Instant::now())
    }

    /// A clock that starts at `wall` and moves only through the returned handle.
    pub fn simulated(wall: Millis) -> (Self, Arc<SimClock>) {
        let sim = Arc::new(SimClock { wall: AtomicI64::new(wall), mono_nanos: AtomicU64::new(0) });
        (Self::Simulated(Arc::clone(&sim)), sim)
    }

    /// Wall time. It may jump in both directions: use it to stamp data, never to measure a duration.
    pub fn now(&self) -> Millis {
        match self {
            Self::Real(_) => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
            },
            Self::Simulated(sim) => sim.wall.load(Ordering::SeqCst),
        }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::Real(start) => start.elapsed(),
            Self::Simulated(sim) => Duration::from_nanos(sim.mono_nanos.load(Ordering::SeqCst)),
        }
    }
}

/// The hand that moves a simulated clock.
#[derive(Debug)]
pub struct SimClock {
    wall: AtomicI64,
    mono_nanos: AtomicU64,
}

impl SimClock {
    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall.fetch_add(ms, Ordering::SeqCst);
        self.mono_nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or NTP would; monotonic time does not notice.
    pub fn jump_to(&self, wall: Millis) {
        self.wall.store(wall, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_only() {
        let (clock, hand) = Clock::simulated(1_000);
        hand.advance(Duration::from_secs(2));
        hand.jump_to(500);
        assert_eq!((clock.now(), clock.monotonic()), (500, Duration::from_secs(2)));
    }

    #[test]
    fn real_time_is_after_2020_and_moves_forward() {
        let clock = Clock::real();
        let before = clock.monotonic();
        assert!(clock.now() > 1_577_836_800_000);
        assert!(clock.monotonic() >= before);
    }
}
