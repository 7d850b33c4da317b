//! The only place that starts tasks and threads. Kinds are a closed list, so that `/metrics` can name each.

#![allow(clippy::disallowed_methods, reason = "this is the seam that the ban points to")]

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::base::workers::{Work, Workers};

/// Cores that this process may use. Asked once: the answer is put together from the files of its control groups, which
/// takes longer than a small query.
pub fn cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get));
    *CORES
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TaskKind {
    Listener,
    Connection,
    Scrape,
    Discovery,
    Query,
    Maintenance,
    WalCommit,
    Replay,
    HostCollector,
    RuleGroup,
    Notification,
    Telemetry,
    Signal,
}

impl TaskKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Listener,
        Self::Connection,
        Self::Scrape,
        Self::Discovery,
        Self::Query,
        Self::Maintenance,
        Self::WalCommit,
        Self::Replay,
        Self::HostCollector,
        Self::RuleGroup,
        Self::Notification,
        Self::Telemetry,
        Self::Signal,
    ];

    /// The name in logs and in the label `kind` of `novascope_tasks`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Connection => "connection",
            Self::Scrape => "scrape",
            Self::Discovery => "discovery",
            Self::Query => "query",
            Self::Maintenance => "maintenance",
            Self::WalCommit => "wal_commit",
            Self::Replay => "replay",
            Self::HostCollector => "host_collector",
            Self::RuleGroup => "rule_group",
            Self::Notification => "notification",
            Self::Telemetry => "telemetry",
            Self::Signal => "signal",
        }
    }
}

/// Starts tasks and counts those that run. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    running: Arc<[AtomicI64; TaskKind::ALL.len()]>,
    workers: Workers,
}

impl Tasks {
    /// Starts a future on the current tokio runtime.
    pub fn spawn<F>(&self, kind: TaskKind, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let running = self.enter(kind);
        tokio::spawn(async move {
            let _running = running;
            future.await
        })
    }

    /// Runs a function that blocks or computes for long on tokio's blocking pool.
    pub fn spawn_blocking<F, T>(&self, kind: TaskKind, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let running = self.enter(kind);
        tokio::task::spawn_blocking(move || {
            let _running = running;
            work()
        })
    }

    /// Starts a named thread of its own, for work that lasts as long as the process.
    pub fn thread<F, T>(&self, kind: TaskKind, work: F) -> std::io::Result<std::thread::JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let running = self.enter(kind);
        std::thread::Builder::new().name(kind.name().to_owned()).spawn(move || {
            let _running = running;
            work()
        })
    }

    /// Runs a function on a thread that does nothing else meanwhile, and gives its result: `None` where it panicked. For
    /// work that may lower the priority of its thread; such a thread ends with it, others are kept for the next.
    pub fn spawn_thread<F, T>(&self, kind: TaskKind, work: F) -> std::io::Result<oneshot::Receiver<Option<T>>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (tell, result) = oneshot::channel();
        let running = self.enter(kind);
        let work: Work = Box::new(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok();
            drop(running);
            // Nobody waits any more where a client left.
            let _ = tell.send(done);
        });
        if let Err(work) = self.workers.give(work) {
            let workers = self.workers.clone();
            std::thread::Builder::new().name(kind.name().to_owned()).spawn(move || workers.live(work))?;
        }
        Ok(result)
    }

    /// How many tasks of this kind run now.
    pub fn running(&self, kind: TaskKind) -> i64 {
        self.running[kind as usize].load(Ordering::Relaxed)
    }

    /// How many tasks of all kinds run now.
    pub fn running_in_all(&self) -> i64 {
        TaskKind::ALL.iter().map(|kind| self.running(*kind)).sum()
    }

    fn enter(&self, kind: TaskKind) -> Running {
        self.running[kind as usize].fetch_add(1, Ordering::Relaxed);
        Running { tasks: self.clone(), kind }
    }
}

/// Counts a task down when it ends, also by a panic.
struct Running {
    tasks: Tasks,
    kind: TaskKind,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.running[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
