//! How far the reading of the log is.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Written by the thread that reads, read by whoever asks.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: AtomicU8,
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
    /// Bytes before the current segment, and up to where it is read.
    before: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    stop: AtomicBool,
}

/// Whether the store has what its log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    Waiting,
    Running,
    Done,
}

impl ReplayState {
    /// The word in Prometheus' API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "in progress",
            Self::Done => "done",
        }
    }
}

/// How far the reading of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaying {
    pub state: ReplayState,
    /// Numbers of the segments: the first and last to be read, and the one that is being read.
    pub first: u64,
    pub last: u64,
    pub current: u64,
    /// Bytes of the snapshot and the segments.
    pub bytes_done: u64,
    pub bytes_total: u64,
}

impl Replaying {
    /// From 0 to 100.
    pub fn percent(&self) -> u64 {
        if self.state == ReplayState::Done {
            return 100;
        }
        // The last bytes are not yet applied when they are read.
        (self.bytes_done.saturating_mul(100)).checked_div(self.bytes_total).unwrap_or(0).min(99)
    }
}

impl Progress {
    /// A store without a log has read it.
    pub(super) fn new(has_log: bool) -> Self {
        let progress = Self::default();
        progress.state.store(if has_log { 0 } else { 2 }, Ordering::Relaxed);
        progress
    }

    pub(super) fn start(&self, segments: &[(u64, u64)], snapshot: Option<(u64, u64)>) {
        let (first, last) = (segments.first().map_or(0, |s| s.0), segments.last().map_or(0, |s| s.0));
        let snapshot = snapshot.map_or(0, |(_, len)| len);
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.current.store(first, Ordering::Relaxed);
        self.before.store(snapshot, Ordering::Relaxed);
        self.total.store(snapshot + segments.iter().map(|(_, len)| len).sum::<u64>(), Ordering::Relaxed);
        self.state.store(1, Ordering::Relaxed);
    }

    pub(super) fn at_snapshot(&self, offset: u64) {
        self.done.store(offset, Ordering::Relaxed);
    }

    pub(super) fn at_segment(&self, number: u64, offset: u64) {
        let last = self.current.swap(number, Ordering::Relaxed);
        if last != number {
            // What is left of the one before is damage or its end.
            self.before.store(self.done.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.done.store(self.before.load(Ordering::Relaxed).saturating_add(offset), Ordering::Relaxed);
    }

    /// Everything is in its place.
    pub(super) fn finish(&self) {
        self.done.store(self.total.load(Ordering::Relaxed), Ordering::Relaxed);
        self.current.store(self.last.load(Ordering::Relaxed), Ordering::Relaxed);
        self.state.store(2, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == 2
    }

    /// Asks the reader to stop.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self) -> Replaying {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Replaying {
            state: match self.state.load(Ordering::Acquire) {
                0 => ReplayState::Waiting,
                1 => ReplayState::Running,
                _ => ReplayState::Done,
            },
            first: get(&self.first),
            last: get(&self.last),
            current: get(&self.current),
            bytes_done: get(&self.done),
            bytes_total: get(&self.total),
        }
    }
}
