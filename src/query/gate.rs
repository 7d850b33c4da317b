//! Who may evaluate now: a fixed number of seats, and a queue that is fair between askers.
//!
//! Waiting askers are served in turn, each in its own order, so that a dashboard that fires a hundred queries does not
//! make everybody wait for all of them. One asker never holds every seat.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Hands out seats. Clones share them.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Seats one asker may hold: three quarters, so that the next asker finds one free.
    per_asker_max: usize,
    queue_max: usize,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    held: HashMap<Arc<str>, usize>,
    /// Askers that wait, the next to be served first, each with its waiting queries in order.
    waiting: VecDeque<(Arc<str>, VecDeque<oneshot::Sender<Seat>>)>,
    queued: usize,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many queries are waiting")]
pub struct QueueFull;

/// The right to evaluate. Dropping it lets the next query in.
#[derive(Debug)]
pub struct Seat {
    shared: Arc<Shared>,
    asker: Arc<str>,
}

impl Gate {
    pub fn new(seats: usize, queue_max: usize) -> Self {
        let state = State { free: seats.max(1), ..State::default() };
        let per_asker_max = (seats * 3 / 4).max(1);
        Self(Arc::new(Shared { state: Mutex::new(state), per_asker_max, queue_max }))
    }

    /// Waits for a seat. Dropping the future leaves the queue.
    pub async fn enter(&self, asker: Arc<str>) -> Result<Seat, QueueFull> {
        let turn = {
            let mut state = self.0.state.lock();
            if state.free > 0 && state.held.get(&asker).copied().unwrap_or(0) < self.0.per_asker_max {
                return Ok(self.0.take(&mut state, &asker));
            }
            if state.queued >= self.0.queue_max {
                state.forget_those_who_left();
            }
            if state.queued >= self.0.queue_max {
                return Err(QueueFull);
            }
            let (tell, turn) = oneshot::channel();
            state.queued += 1;
            match state.waiting.iter_mut().find(|(waiting, _)| *waiting == asker) {
                Some((_, queue)) => queue.push_back(tell),
                None => state.waiting.push_back((asker, VecDeque::from([tell]))),
            }
            turn
        };
        // The sender lives in the gate until it is used, and the gate lives while `self` does.
        turn.await.map_err(|_| QueueFull)
    }

    /// Queries that wait.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().queued
    }
}

impl Shared {
    fn take(self: &Arc<Self>, state: &mut State, asker: &Arc<str>) -> Seat {
        state.free -= 1;
        *state.held.entry(Arc::clone(asker)).or_default() += 1;
        Seat { shared: Arc::clone(self), asker: Arc::clone(asker) }
    }

    /// Fills free seats from the queue. Seats whose query has left come back in the list, to be dropped without the lock.
    fn fill(self: &Arc<Self>, state: &mut State) -> Vec<Seat> {
        let mut returned = Vec::new();
        while state.free > 0 {
            let next = state
                .waiting
                .iter()
                .position(|(asker, _)| state.held.get(asker).copied().unwrap_or(0) < self.per_asker_max);
            let Some((asker, mut queue)) = next.and_then(|at| state.waiting.remove(at)) else { break };
            let tell = queue.pop_front();
            if !queue.is_empty() {
                // Behind everybody else: one query of each asker in turn.
                state.waiting.push_back((Arc::clone(&asker), queue));
            }
            let Some(tell) = tell else { continue };
            state.queued -= 1;
            if tell.is_closed() {
                continue;
            }
            let seat = self.take(state, &asker);
            if let Err(seat) = tell.send(seat) {
                returned.push(seat);
                break;
            }
        }
        returned
    }
}

impl State {
    fn forget_those_who_left(&mut self) {
        for (_, queue) in &mut self.waiting {
            queue.retain(|tell| !tell.is_closed());
        }
        self.waiting.retain(|(_, queue)| !queue.is_empty());
        self.queued = self.waiting.iter().map(|(_, queue)| queue.len()).sum();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let returned = {
            let mut state = self.shared.state.lock();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&self.asker) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.asker);
                }
            }
            self.shared.fill(&mut state)
        };
        drop(returned);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn asker(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn askers_are_served_in_turn_however_many_queries_one_has() {
        let gate = Gate::new(1, 10);
        let (busy, other) = (asker("busy"), asker("other"));
        let first = gate.enter(Arc::clone(&busy)).await.unwrap();
        let mut waiting: Vec<_> =
            [&busy, &busy, &other].into_iter().map(|asker| Box::pin(gate.enter(Arc::clone(asker)))).collect();
        assert!(waiting.iter_mut().all(|wait| wait.now_or_never().is_none()));
        drop(first);
        let second = waiting[0].as_mut().now_or_never().unwrap().unwrap();
        drop(second);
        assert!(waiting[1].as_mut().now_or_never().is_none());
        let third = waiting[2].as_mut().now_or_never().unwrap().unwrap();
        drop(third);
        assert!(waiting[1].as_mut().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn one_asker_leaves_a_seat_for_the_next() {
        let gate = Gate::new(4, 10);
        let mut seats = Vec::new();
        for _ in 0..3 {
            seats.push(gate.enter(asker("a")).await.unwrap());
        }
        let mut fourth = Box::pin(gate.enter(asker("a")).fuse());
        assert!((&mut fourth).now_or_never().is_none());
        let _other = gate.enter(asker("b")).now_or_never().unwrap().unwrap();
        seats.pop();
        assert!(fourth.now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_but_forgets_those_who_left() {
        let gate = Gate::new(1, 1);
        let seat = gate.enter(asker("a")).await.unwrap();
        let mut left = Box::pin(gate.enter(asker("b")));
        assert!(left.as_mut().now_or_never().is_none());
        assert_eq!(gate.enter(asker("c")).await.unwrap_err(), QueueFull);
        drop(left);
        let mut next = Box::pin(gate.enter(asker("c")));
        assert!(next.as_mut().now_or_never().is_none());
        drop(seat);
        assert!(next.as_mut().now_or_never().unwrap().is_ok());
        assert_eq!(gate.waiting(), 0);
    }
}
