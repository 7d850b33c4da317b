//! Parts that several queries have in common, evaluated once for all of them: those of the rules of a group.
//!
//! [`Parts`] finds them once, by their text; a [`Memo`] holds their results for queries that are evaluated at one time.
//! Whoever asks says of which generation it is: parts that read what is written between the queries hold for one
//! generation, all others for all. Annotations of a part are told to the query that evaluates it and to no other: rules,
//! for which this is, pass them over. Of queries that need a part at the same moment one evaluates it, and the others wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::promql::ast::{Expr, ExprKind, ValueType};

use super::query::Frame;
use super::vector::Ready;

/// Slots of all series that one memo holds, filled or not: some 20 MiB. What comes later is evaluated each time.
const SLOTS_MAX: usize = 200_000;

/// What queries have in common.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// By text; whether it holds for one generation only.
    texts: HashMap<String, bool>,
}

impl Parts {
    /// Looks queries through. Each is a text in canonical form and what was parsed from it; `is_passing` says of a part
    /// whether it reads what is written between the queries.
    pub fn of<'a>(queries: impl IntoIterator<Item = (&'a str, &'a Expr)>, is_passing: impl Fn(&Expr) -> bool) -> Self {
        let mut seen = HashSet::new();
        let mut texts = HashMap::new();
        for (query, expr) in queries {
            let mut open = vec![expr];
            while let Some(expr) = open.pop() {
                let text = query.get(expr.span.start as usize..expr.span.end as usize).unwrap_or("");
                let is_candidate = match &expr.kind {
                    ExprKind::Aggregate(_) | ExprKind::Selector(_) => true,
                    ExprKind::Call(call) => call.signature.returns == ValueType::Vector,
                    _ => false,
                };
                if is_candidate && !text.is_empty() && !seen.insert(text) {
                    // What is inside is not evaluated a second time, so it is no candidate by itself.
                    if !texts.contains_key(text) {
                        texts.insert(text.to_owned(), is_passing(expr));
                    }
                    continue;
                }
                open.extend(expr.parts());
            }
        }
        Self { texts }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Text and generation.
type Key = (String, u32);

/// What is known of the parts.
#[derive(Default)]
struct Table {
    /// Over the times that they were evaluated for.
    results: HashMap<Key, Vec<(Frame, Arc<Ready>)>>,
    /// Those that somebody evaluates now.
    claimed: Vec<(Key, Frame)>,
    /// Those that could not be kept: everybody evaluates them.
    unkept: HashSet<Key>,
    /// How many wait for a claimed one.
    waiting: usize,
}

impl Table {
    fn ready(&self, key: &Key, frame: Frame) -> Option<Arc<Ready>> {
        self.results.get(key)?.iter().find(|(times, _)| *times == frame).map(|(_, ready)| Arc::clone(ready))
    }
}

/// Results of parts that queries of one time have in common.
pub struct Memo {
    parts: Arc<Parts>,
    table: Mutex<Table>,
    settled: Condvar,
    slots: AtomicUsize,
    reused: AtomicU64,
}

impl Memo {
    pub fn new(parts: Arc<Parts>) -> Arc<Self> {
        Arc::new(Self {
            parts,
            table: Mutex::default(),
            settled: Condvar::new(),
            slots: AtomicUsize::new(0),
            reused: AtomicU64::new(0),
        })
    }

    /// How many evaluations it has saved.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }
}

/// The part is evaluated by whoever holds this; the others wait until it goes. They wait for no part that holds theirs
/// inside, because a claim is held only while what is inside its part is evaluated: so nobody waits in a circle.
pub(super) struct Claim {
    memo: Arc<Memo>,
    key: Key,
    frame: Frame,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.memo.table.lock();
        table.claimed.retain(|(key, frame)| *key != self.key || *frame != self.frame);
        if table.ready(&self.key, self.frame).is_none() {
            table.unkept.insert(self.key.clone());
        }
        if table.waiting > 0 {
            self.memo.settled.notify_all();
        }
    }
}

/// What a query is told of a part.
pub(super) enum Look {
    /// Its result.
    Ready(Arc<Ready>),
    /// To evaluate it, and let the others know by letting this go.
    Claim(Claim),
    /// To evaluate it for itself.
    Alone,
}

/// A memo as one query sees it.
#[derive(Clone)]
pub struct Common {
    pub memo: Arc<Memo>,
    pub generation: u32,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Common {
    pub(super) fn has(&self, text: &str) -> bool {
        self.memo.parts.texts.contains_key(text)
    }

    /// Slots that there is room for.
    pub(super) fn room(&self) -> usize {
        SLOTS_MAX.saturating_sub(self.memo.slots.load(Ordering::Relaxed))
    }

    fn key(&self, text: &str) -> Option<(String, u32)> {
        let is_passing = self.memo.parts.texts.get(text)?;
        Some((text.to_owned(), if *is_passing { self.generation } else { 0 }))
    }

    /// The result of a part, after it was waited for where another query evaluates it now.
    pub(super) fn look(&self, text: &str, frame: Frame) -> Look {
        let Some(key) = self.key(text) else { return Look::Alone };
        let mut table = self.memo.table.lock();
        loop {
            if let Some(ready) = table.ready(&key, frame) {
                self.memo.reused.fetch_add(1, Ordering::Relaxed);
                return Look::Ready(ready);
            }
            if table.unkept.contains(&key) {
                return Look::Alone;
            }
            if !table.claimed.iter().any(|(claimed, times)| *claimed == key && *times == frame) {
                table.claimed.push((key.clone(), frame));
                return Look::Claim(Claim { memo: Arc::clone(&self.memo), key, frame });
            }
            table.waiting += 1;
            self.memo.settled.wait(&mut table);
            table.waiting -= 1;
        }
    }

    pub(super) fn keep(&self, text: &str, frame: Frame, ready: &Arc<Ready>) {
        let Some(key) = self.key(text) else { return };
        self.memo.slots.fetch_add(ready.series.len().saturating_mul(frame.steps), Ordering::Relaxed);
        self.memo.table.lock().results.entry(key).or_default().push((frame, Arc::clone(ready)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::eval::query::Held;
    use crate::promql::parse::parse;

    fn common() -> Common {
        let (query, expr) = ("sum(x) + sum(x)", parse("sum(x) + sum(x)").unwrap());
        let parts = Parts::of([(query, &expr)], |_| false);
        assert_eq!(parts.len(), 1);
        Common { memo: Memo::new(Arc::new(parts)), generation: 0 }
    }

    /// Lets another thread look, and waits until it waits.
    fn other(common: &Common, frame: Frame) -> std::thread::JoinHandle<bool> {
        let theirs = common.clone();
        let look = move || matches!(theirs.look("sum(x)", frame), Look::Ready(_));
        let other = std::thread::Builder::new().spawn(look).unwrap();
        while common.memo.table.lock().waiting == 0 {
            std::thread::yield_now();
        }
        other
    }

    #[test]
    fn who_needs_what_is_being_evaluated_waits_for_it() {
        let (common, frame) = (common(), Frame::new(0, 0, 1));
        let Look::Claim(claim) = common.look("sum(x)", frame) else { panic!("nobody else wants it") };
        let waiting = other(&common, frame);
        common.keep("sum(x)", frame, &Arc::new(Ready { series: Vec::new(), held: Held::of_nobody() }));
        drop(claim);
        assert!(waiting.join().unwrap());
        assert_eq!(common.memo.reused(), 1);
    }

    #[test]
    fn what_could_not_be_kept_is_evaluated_by_everybody() {
        let (common, frame) = (common(), Frame::new(0, 0, 1));
        let Look::Claim(claim) = common.look("sum(x)", frame) else { panic!("nobody else wants it") };
        let waiting = other(&common, frame);
        drop(claim);
        assert!(!waiting.join().unwrap());
        assert!(matches!(common.look("sum(x)", frame), Look::Alone));
        assert!(matches!(common.look("sum(y)", frame), Look::Alone));
    }
}
