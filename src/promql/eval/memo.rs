//! Parts that several queries have in common, evaluated once for all of them: those of the rules of a group.
//!
//! [`Parts`] finds them once, by their text; a [`Memo`] holds their results for queries that are evaluated at one time.
//! Whoever asks says of which generation it is: parts that read what is written between the queries hold for one
//! generation, all others for all. Annotations of a part are told to the query that evaluates it and to no other: rules,
//! for which this is, pass them over. Two queries that need a part at the same moment may both evaluate it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

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

/// By text and generation, over the times that they were evaluated for.
type Results = HashMap<(String, u32), Vec<(Frame, Arc<Ready>)>>;

/// Results of parts that queries of one time have in common.
pub struct Memo {
    parts: Arc<Parts>,
    results: Mutex<Results>,
    slots: AtomicUsize,
    reused: AtomicU64,
}

impl Memo {
    pub fn new(parts: Arc<Parts>) -> Arc<Self> {
        Arc::new(Self { parts, results: Mutex::default(), slots: AtomicUsize::new(0), reused: AtomicU64::new(0) })
    }

    /// How many evaluations it has saved.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }
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

    pub(super) fn find(&self, text: &str, frame: Frame) -> Option<Arc<Ready>> {
        let key = self.key(text)?;
        let results = self.memo.results.lock();
        let (_, ready) = results.get(&key)?.iter().find(|(times, _)| *times == frame)?;
        self.memo.reused.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(ready))
    }

    pub(super) fn keep(&self, text: &str, frame: Frame, ready: &Arc<Ready>) {
        let Some(key) = self.key(text) else { return };
        self.memo.slots.fetch_add(ready.series.len().saturating_mul(frame.steps), Ordering::Relaxed);
        self.memo.results.lock().entry(key).or_default().push((frame, Arc::clone(ready)));
    }
}
