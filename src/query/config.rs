//! Settings of queries.

use serde::{Deserialize, Serialize};

use crate::base::memory;
use crate::base::tasks::cores;
use crate::base::units::{ByteSize, Period};

/// What queries may use. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The longest a query may run, waiting included. 2 minutes, as in Prometheus.
    pub timeout: Period,
    /// Queries that evaluate at the same time; 0 for twice the cores, at least 8. More would only share the same cores
    /// and hold more memory.
    pub concurrency: usize,
    /// Queries that may wait for their turn. Later ones are refused with 503 and `Retry-After`.
    pub queue: usize,
    /// How long queries wait after a start until the log is read; then they are answered from blocks, with a warning.
    pub replay_wait: Period,
    /// How far back an instant selector looks for a sample. 5 minutes, as in Prometheus.
    pub lookback: Period,
    /// The step of a subquery that gives none. 1 minute, as in Prometheus.
    pub subquery_step: Period,
    /// Samples that one query may hold at the same time. 50 million, as in Prometheus.
    pub samples_max: u64,
    /// Points of one series in an answer. 11,000, as in Prometheus: Grafana keeps below it.
    pub points_max: u64,
    /// Memory of all queries together; 0 for a quarter of the machine's memory or the container's limit.
    pub memory: ByteSize,
    /// Memory for results of range queries that a refreshing dashboard asks again; 0 turns the cache off, absent means a
    /// hundredth of the machine's memory.
    pub cache: Option<ByteSize>,
    /// Queries that take at least this long are logged at level info; all are logged at level debug.
    pub log_slower_than: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Period::from_millis(120_000),
            concurrency: 0,
            queue: 256,
            replay_wait: Period::from_millis(3_000),
            lookback: Period::from_millis(300_000),
            subquery_step: Period::from_millis(60_000),
            samples_max: 50_000_000,
            points_max: 11_000,
            memory: ByteSize::from_bytes(0),
            cache: None,
            log_slower_than: Period::from_millis(1_000),
        }
    }
}

impl Config {
    /// How many queries evaluate at the same time.
    pub fn seats(&self) -> usize {
        if self.concurrency > 0 { self.concurrency } else { (cores() * 2).max(8) }
    }
}

/// Bytes of one sample in a result: time and value.
const SAMPLE_BYTES: u64 = 16;

impl Config {
    /// Bytes of the cache of results.
    pub fn cache_bytes(&self) -> usize {
        self.cache.unwrap_or_else(|| ByteSize::from_bytes(memory::limit() / 100)).as_usize()
    }

    /// Samples that all queries together may hold.
    pub fn samples_of_all(&self) -> u64 {
        let bytes = if self.memory.as_u64() > 0 { self.memory.as_u64() } else { memory::limit() / 4 };
        (bytes / SAMPLE_BYTES).max(1 << 16)
    }
}
