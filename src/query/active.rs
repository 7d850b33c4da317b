//! The queries that run now, and what the finished ones cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Who asks: what the fair queue tells apart, and what the query log says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The address of the client, or what a proxy says of it.
    pub client: String,
    /// Grafana's `X-Dashboard-Uid`, `X-Panel-Id` and the like, by short names.
    pub origin: Vec<(&'static str, String)>,
}

impl Asker {
    /// What the fair queue counts as one: a client, and in Grafana each dashboard of it.
    pub fn key(&self) -> Arc<str> {
        match self.origin.iter().find(|(name, _)| *name == "dashboard") {
            Some((_, dashboard)) => format!("{}/{dashboard}", self.client).into(),
            None => self.client.as_str().into(),
        }
    }
}

/// What a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub query: String,
    /// First and last time in milliseconds.
    pub start: i64,
    pub end: i64,
    /// Milliseconds; 0 for an instant query.
    pub step: i64,
}

/// A query that runs or waits.
#[derive(Debug)]
pub struct ActiveQuery {
    pub id: u64,
    pub question: Question,
    pub asker: Asker,
    /// Monotonic time at which it arrived.
    pub began: Duration,
    /// Set to make the evaluation stop.
    pub cancel: Arc<AtomicBool>,
    /// Whether it was an operator who stopped it.
    pub killed: AtomicBool,
}

/// What queries with one text have cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    pub query: String,
    /// Width of the asked range in milliseconds; 0 for instant queries.
    pub range: i64,
    pub count: u64,
    pub seconds: f64,
    pub seconds_max: f64,
    pub samples: u64,
    pub failed: u64,
    /// The dashboard and panel that asked last.
    pub origin: Vec<(&'static str, String)>,
}

/// Texts that are remembered. Beyond, the one that cost least is forgotten.
const COSTS_MAX: usize = 1000;

/// Bytes of a query text that are kept in lists and logs.
pub const TEXT_MAX: usize = 4096;

/// The list. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ActiveQueries(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    running: Mutex<HashMap<u64, Arc<ActiveQuery>>>,
    costs: Mutex<HashMap<(String, i64), Cost>>,
}

impl ActiveQueries {
    /// Lists a query until the entry is dropped. Dropping it also stops the evaluation, wherever it is: that is how a
    /// client that leaves takes its query with it.
    pub fn enter(&self, question: Question, asker: Asker, began: Duration) -> Entry {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let query = Arc::new(ActiveQuery {
            id,
            question,
            asker,
            began,
            cancel: Arc::default(),
            killed: AtomicBool::new(false),
        });
        self.0.running.lock().insert(id, Arc::clone(&query));
        Entry { list: self.clone(), query }
    }

    /// Those that run or wait, the oldest first.
    pub fn list(&self) -> Vec<Arc<ActiveQuery>> {
        let mut list: Vec<_> = self.0.running.lock().values().map(Arc::clone).collect();
        list.sort_by_key(|query| query.id);
        list
    }

    /// Stops a query; false where it has ended.
    pub fn kill(&self, id: u64) -> bool {
        let Some(query) = self.0.running.lock().get(&id).map(Arc::clone) else { return false };
        query.killed.store(true, Ordering::Relaxed);
        query.cancel.store(true, Ordering::Relaxed);
        true
    }

    /// Adds what a finished query cost.
    pub fn finished(&self, query: &ActiveQuery, took: Duration, samples: u64, failed: bool) {
        let Question { query: text, start, end, .. } = &query.question;
        let key = (cut(text).to_owned(), end.saturating_sub(*start));
        let mut costs = self.0.costs.lock();
        if costs.len() >= COSTS_MAX && !costs.contains_key(&key) {
            let least = costs.iter().min_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds)).map(|(key, _)| key.clone());
            if let Some(least) = least {
                costs.remove(&least);
            }
        }
        let cost = costs.entry(key.clone()).or_insert_with(|| Cost { query: key.0, range: key.1, ..Cost::default() });
        let seconds = took.as_secs_f64();
        cost.count += 1;
        cost.seconds += seconds;
        cost.seconds_max = cost.seconds_max.max(seconds);
        cost.samples += samples;
        cost.failed += u64::from(failed);
        cost.origin.clone_from(&query.asker.origin);
    }

    /// The texts that cost most, by `rank`.
    pub fn top(&self, count: usize, rank: impl Fn(&Cost) -> f64) -> Vec<Cost> {
        let mut costs: Vec<Cost> = self.0.costs.lock().values().cloned().collect();
        costs.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then_with(|| a.query.cmp(&b.query)));
        costs.truncate(count);
        costs
    }
}

/// The first bytes of a text, cut between characters.
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A query's place in the list.
#[derive(Debug)]
pub struct Entry {
    list: ActiveQueries,
    pub query: Arc<ActiveQuery>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.query.cancel.store(true, Ordering::Relaxed);
        self.list.0.running.lock().remove(&self.query.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(query: &str) -> Question {
        Question { query: query.to_owned(), ..Question::default() }
    }

    #[test]
    fn a_query_that_is_killed_or_left_alone_is_told_to_stop() {
        let queries = ActiveQueries::default();
        let entry = queries.enter(question("up"), Asker::default(), Duration::ZERO);
        let cancel = Arc::clone(&entry.query.cancel);
        assert_eq!(queries.list().len(), 1);
        assert!(queries.kill(entry.query.id) && cancel.load(Ordering::Relaxed));
        assert!(!queries.kill(99));
        let other = queries.enter(question("up"), Asker::default(), Duration::ZERO);
        let cancel = Arc::clone(&other.query.cancel);
        drop((entry, other));
        assert!(cancel.load(Ordering::Relaxed) && queries.list().is_empty());
    }

    #[test]
    fn the_cheapest_text_is_forgotten_first() {
        let queries = ActiveQueries::default();
        for n in 0..=COSTS_MAX {
            let entry = queries.enter(question(&format!("q{n}")), Asker::default(), Duration::ZERO);
            queries.finished(&entry.query, Duration::from_millis(n as u64 + 1), 1, false);
        }
        let top = queries.top(usize::MAX, |cost| cost.seconds);
        assert_eq!((top.len(), top[0].query.as_str()), (COSTS_MAX, "q1000"));
        assert!(top.iter().all(|cost| cost.query != "q0"));
    }
}
