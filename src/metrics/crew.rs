//! Those who put in place what the log holds: each thread for shards of its own, so that a start uses all cores.
//!
//! One thread reads the log and gathers a load for each shard; a full one goes to the thread of its shard while the next is
//! gathered. There are two loads for each shard and they are used again and again, so that reading a log of any length
//! takes the same few megabytes, and an allocator that gives pages back late has nothing to hold.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::base::tasks::cores;
use crate::model::exemplar::Exemplar;

use super::replay::Restoring;
use super::replayed::{Done, Entry, Load, Replayed, Scratch};
use super::series::SeriesRef;

/// Bytes of log from which on threads pay.
const PARALLEL_BYTES: u64 = 128 << 10;

/// Threads at most.
const WORKERS_MAX: usize = 8;

/// Floats that are gathered in all loads together: one megabyte.
const FLOATS_MAX: usize = 1 << 16;

/// Loads by shard, and who carries them out.
pub(super) struct Crew<'a> {
    head: &'a Restoring<'a>,
    /// Being filled.
    loads: Vec<Load>,
    /// The other of each shard, while it is not under way.
    spare: Vec<Option<Load>>,
    /// Floats of a load.
    most: usize,
    workers: Vec<Worker>,
    /// For work without workers.
    scratch: Scratch,
    done: Done,
}

/// A thread, as who gives it work sees it.
struct Worker {
    to: Sender<Load>,
    from: Receiver<Load>,
    /// Loads that are under way.
    out: usize,
}

/// A worker ends before its channels only when it panicked: a bug of ours, and starting with part of the data would
/// hide it.
const PANICKED: &str = "a thread that puts the log in place panicked";

/// Calls `work` with a crew that is fit for so many bytes of log.
pub(super) fn with_crew<R>(head: &Restoring<'_>, bytes: u64, work: impl FnOnce(&mut Crew<'_>) -> R) -> R {
    let count = if bytes < PARALLEL_BYTES { 0 } else { cores().min(WORKERS_MAX).min(head.shards.len()) };
    let most = FLOATS_MAX / 2 / head.shards.len().max(1);
    let loads = || (0..head.shards.len()).map(|shard| Load::new(shard, if count > 0 { most } else { 0 }));
    std::thread::scope(|scope| {
        let hire = |_| {
            let (to, loads) = channel::<Load>();
            let (back, from) = channel();
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                for mut load in loads {
                    load.carry_out(head, &mut scratch);
                    if back.send(load).is_err() {
                        return;
                    }
                }
            });
            Worker { to, from, out: 0 }
        };
        let workers = (0..count).map(hire).collect();
        let (loads, spare) = (loads().collect(), loads().map(Some).collect());
        work(&mut Crew { head, loads, spare, most, workers, scratch: Scratch::default(), done: Done::default() })
    })
}

impl Crew<'_> {
    /// Adds a float of a series that is known.
    #[inline]
    pub(super) fn float(&mut self, series: SeriesRef, float: &Replayed) {
        let number = series.shard as usize;
        if self.loads[number].is_full_for(float, self.most) {
            self.send(number);
        }
        self.loads[number].push_float(series.slot, float);
    }

    /// Adds something else that belongs to a shard.
    pub(super) fn entry(&mut self, number: usize, entry: Entry, bytes: &[u8]) {
        if self.loads[number].push(entry, bytes) {
            self.send(number);
        }
    }

    pub(super) fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        let number = series.shard as usize;
        if self.loads[number].push_exemplar(series, exemplar) {
            self.send(number);
        }
    }

    /// Waits until everything is in place. Gives what was found since the last time.
    pub(super) fn settle(&mut self) -> Done {
        for number in 0..self.loads.len() {
            if !self.loads[number].is_empty() {
                self.send(number);
            }
        }
        for worker in &mut self.workers {
            while worker.out > 0 {
                worker.take_back(&mut self.spare, &mut self.done);
            }
        }
        std::mem::take(&mut self.done)
    }

    /// Hands the load of a shard over, once the one before is back.
    fn send(&mut self, number: usize) {
        let load = &mut self.loads[number];
        if self.workers.is_empty() {
            load.carry_out(self.head, &mut self.scratch);
            self.done.take(load);
            return;
        }
        let count = self.workers.len();
        let worker = &mut self.workers[number % count];
        let other = loop {
            match self.spare[number].take() {
                Some(load) => break load,
                None => worker.take_back(&mut self.spare, &mut self.done),
            }
        };
        worker.to.send(std::mem::replace(load, other)).expect(PANICKED);
        worker.out += 1;
    }
}

impl Worker {
    /// Waits for a load.
    fn take_back(&mut self, spare: &mut [Option<Load>], done: &mut Done) {
        let mut load = self.from.recv().expect(PANICKED);
        self.out -= 1;
        done.take(&mut load);
        let number = load.shard();
        spare[number] = Some(load);
    }
}
