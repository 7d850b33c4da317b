//! The once-a-second beat: our own figures and the host's into the store, and the store's maintenance.

use std::sync::Arc;
use std::time::Duration;

use crate::app::feed::Feed;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::memory;
use crate::base::tasks::{TaskKind, Tasks};
use crate::base::{code_pages, heap, huge_pages, scratch};
use crate::ingest::host::Host;
use crate::metrics::Store;
use crate::telemetry;

/// Milliseconds between beats.
const BEAT: i64 = 1_000;

/// Beats after which a start is over: what it alone needed of the program's code is let go.
const BEATS_OF_START: u32 = 4;

/// Beats between two times that freed memory is given back.
const BEATS_OF_HEAP: u32 = 3;

/// From here on the speed of huge pages is worth their memory.
const SERIES_WORTH_HUGE_PAGES: u64 = 200_000;

/// What beats.
#[derive(Debug)]
pub struct Pulse {
    pub store: Arc<Store>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub drain: Drain,
}

impl Pulse {
    /// Feeds the store with our own families and the host's until the drain starts. Samples carry the whole second
    /// for which they were taken, so that they sit on the grid of the store.
    pub async fn feed(self, instance: String) {
        let host = Arc::new(Host::new(self.clock.clone()));
        let mut own = Feed::new("novascope", instance);
        let mut node = Feed::new("node", host.name());
        let mut last = 0;
        while let Some(time) = self.beat().await {
            if time == last {
                continue;
            }
            last = time;
            let (store, clock, host) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&host));
            // On a thread that may block: /proc is quick, but not on a machine that swaps.
            let round = self.tasks.spawn_blocking(TaskKind::HostCollector, move || {
                let commits = [
                    gather(&clock, &store, &mut own, time, || telemetry::registry().gather()),
                    gather(&clock, &store, &mut node, time, || host.gather()),
                ];
                for commit in commits {
                    if let Err(error) = commit.wait() {
                        tracing::debug!(%error, "our own samples are not on disk");
                    }
                }
                (own, node)
            });
            match round.await {
                Ok(feeds) => (own, node) = feeds,
                Err(error) => {
                    tracing::error!(%error, "the collector of our own metrics failed; it stops");
                    return;
                }
            }
        }
    }

    /// Lets the store do what is due, once a second, until the drain starts.
    pub async fn maintain(self) {
        let (mut is_large, mut beats) = (false, 0_u32);
        while self.beat().await.is_some() {
            beats = beats.saturating_add(1);
            if beats == BEATS_OF_START {
                code_pages::let_go();
            }
            if !is_large && self.store.totals().series > SERIES_WORTH_HUGE_PAGES {
                is_large = true;
                huge_pages::allow(true);
            }
            let store = Arc::clone(&self.store);
            let round = move || {
                watch_memory(&store);
                store.maintain();
                // Here, since this thread has freed what the store's maintenance took.
                if beats.is_multiple_of(BEATS_OF_HEAP) {
                    scratch::give_back();
                    heap::give_back();
                }
            };
            if let Err(error) = self.tasks.spawn_blocking(TaskKind::Maintenance, round).await {
                tracing::error!(%error, "a round of the store's maintenance failed");
            }
        }
    }

    /// Waits for the next whole second of the wall clock and gives it; none when the drain started.
    async fn beat(&self) -> Option<i64> {
        let late = self.clock.now().rem_euclid(BEAT);
        let wait = Duration::from_millis((BEAT - late).unsigned_abs());
        tokio::select! {
            () = self.drain.wait() => None,
            // The timer may fire a moment early by the wall clock: the nearest second is the one meant.
            () = tokio::time::sleep(wait) => Some((self.clock.now() + BEAT / 2).div_euclid(BEAT) * BEAT),
        }
    }
}

/// Lets the store make room when the memory of the machine or container gets short, and refuse samples when it is
/// nearly gone: the kernel would end the process next.
fn watch_memory(store: &Store) {
    let (used, limit) = (memory::resident(), memory::limit());
    let over = |percent: u64| used > limit / 100 * percent;
    let was_held = store.read_only().is_some_and(|reason| reason.starts_with(MEMORY_SHORT));
    let hold = over(90) || (was_held && over(85));
    let reason = || format!("{MEMORY_SHORT}: {} of {} MiB are in use", used >> 20, limit >> 20);
    if hold != was_held {
        tracing::warn!(used, limit, refusing = hold, "memory");
    }
    store.press(over(75), hold.then(reason));
}

/// How the reason begins.
const MEMORY_SHORT: &str = "memory is short";

fn gather(
    clock: &Clock,
    store: &Store,
    feed: &mut Feed,
    time: i64,
    families: impl FnOnce() -> Vec<telemetry::snapshot::Family>,
) -> crate::metrics::Commit {
    let began = clock.monotonic();
    let families = families();
    let took = clock.monotonic().saturating_sub(began);
    feed.append(store, &families, time, took)
}
