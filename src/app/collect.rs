//! Figures that live outside the registry, added at each gathering: the store, listeners, tasks, the build.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::{Refusal, Store};
use crate::server::listen::ListenCounters;
use crate::telemetry::registry::Registry;
use crate::telemetry::snapshot::{Family, Kind, as_float};

/// What there is to collect from.
#[derive(Debug)]
pub struct Collected {
    pub store: Arc<Store>,
    pub tasks: Tasks,
    /// Listeners by the name of their port.
    pub listeners: Vec<(&'static str, Arc<ListenCounters>)>,
}

impl Collected {
    /// Adds these figures to every gathering of the registry.
    pub fn register(self, registry: &Registry) {
        registry.collect(move |families| {
            families.push(build());
            families.push(self.tasks());
            families.extend(self.listeners());
            families.extend(self.store());
            families.extend(self.log());
            families.extend(self.blocks());
            families.extend(self.replay());
        });
    }

    fn tasks(&self) -> Family {
        let mut family =
            Family::new("novascope_tasks", "Tasks and threads that run, by what they are for.", Kind::Gauge);
        for kind in TaskKind::ALL {
            family.push(&[("kind", kind.name())], self.tasks.running(kind) as f64);
        }
        family
    }

    fn listeners(&self) -> Vec<Family> {
        let mut accepted =
            Family::new("novascope_connections_accepted_total", "Connections accepted, by port.", Kind::Counter);
        let help = "Connections not served, by port and reason: over the limit, or the system refused.";
        let mut refused = Family::new("novascope_connections_refused_total", help, Kind::Counter);
        for (port, counters) in &self.listeners {
            let get = |counter: &std::sync::atomic::AtomicU64| as_float(counter.load(Ordering::Relaxed));
            accepted.push(&[("port", port)], get(&counters.accepted));
            refused.push(&[("port", port), ("reason", "limit")], get(&counters.refused));
            refused.push(&[("port", port), ("reason", "system")], get(&counters.failed));
        }
        vec![accepted, refused]
    }

    fn store(&self) -> Vec<Family> {
        let totals = self.store.totals();
        let counter = |name, help, value: u64| Family::single(name, help, Kind::Counter, as_float(value));
        let mut placed = Family::new("novascope_store_samples_total", "Samples appended, by kind.", Kind::Counter);
        placed.push(&[("kind", "float")], as_float(totals.samples));
        placed.push(&[("kind", "histogram")], as_float(totals.histograms));
        let mut refused =
            Family::new("novascope_store_refused_total", "Series and samples refused, by reason.", Kind::Counter);
        for (reason, count) in Refusal::REASONS.iter().zip(totals.refused) {
            refused.push(&[("reason", reason)], as_float(count));
        }
        vec![
            Family::single("novascope_store_series", "Series in memory.", Kind::Gauge, as_float(totals.series)),
            placed,
            refused,
            counter("novascope_store_exemplars_total", "Exemplars appended.", totals.exemplars),
            counter("novascope_store_late_samples_total", "Samples that came out of order.", totals.late),
            counter("novascope_store_repeated_samples_total", "Samples that were stored already.", totals.duplicates),
            counter(
                "novascope_store_deduplicated_samples_total",
                "Samples that gave way to another one inside the dedup window.",
                totals.replaced + totals.superseded,
            ),
            counter(
                "novascope_store_evicted_series_total",
                "Series removed after their last sample expired.",
                totals.series_evicted,
            ),
        ]
    }
}

impl Collected {
    fn log(&self) -> Vec<Family> {
        let totals = self.store.totals();
        let wal = totals.wal;
        let family = |name, help, kind, value: u64| Family::single(name, help, kind, as_float(value));
        let counter = |name, help, value| family(name, help, Kind::Counter, value);
        let read_only = u64::from(self.store.read_only().is_some());
        let room = self.store.room();
        let help = "Bytes of the write-ahead log that no snapshot covers.";
        vec![
            counter("novascope_wal_frames_total", "Frames appended to the write-ahead log.", wal.frames),
            counter("novascope_wal_bytes_total", "Bytes appended to the write-ahead log.", wal.bytes),
            counter("novascope_wal_syncs_total", "Batches of frames made durable together.", wal.batches),
            counter("novascope_wal_healed_total", "Failures that a fresh segment healed.", wal.healed),
            counter("novascope_wal_refused_total", "Batches that could not be made durable.", wal.refused),
            family("novascope_wal_live_bytes", help, Kind::Gauge, wal.live_bytes),
            family("novascope_store_size_bytes", "Bytes of the data folder.", Kind::Gauge, room.used),
            family(
                "novascope_store_size_max_bytes",
                "The most that it may have; 0 for no limit.",
                Kind::Gauge,
                room.size_max,
            ),
            family("novascope_disk_free_bytes", "Free bytes of the data folder's file system.", Kind::Gauge, room.free),
            family("novascope_disk_free_min_bytes", "With less, samples are refused.", Kind::Gauge, room.free_min),
            family("novascope_disk_reserve_bytes", "Bytes of the reserve file.", Kind::Gauge, room.reserve),
            counter("novascope_disk_reserve_released_total", "Times the reserve was given up.", room.reserve_released),
            counter("novascope_store_snapshots_total", "Snapshots of all columns written.", totals.snapshots),
            family("novascope_store_read_only", "Whether the store refuses samples.", Kind::Gauge, read_only),
        ]
    }
}

impl Collected {
    fn blocks(&self) -> Vec<Family> {
        let totals = self.store.totals();
        let gauge = |name, help, value: u64| Family::single(name, help, Kind::Gauge, as_float(value));
        let counter = |name, help, value: u64| Family::single(name, help, Kind::Counter, as_float(value));
        let tombstones = "Deletions that blocks have yet to carry out.";
        let pages = "Pages of blocks that failed their checksum and are left out of answers.";
        vec![
            gauge("novascope_blocks", "Blocks that can be read.", totals.blocks),
            gauge("novascope_blocks_bytes", "Bytes of these blocks.", totals.blocks_bytes),
            gauge(
                "novascope_block_files_set_aside",
                "Files of blocks that the start set aside while the manifest was damaged.",
                totals.block_files_set_aside,
            ),
            gauge("novascope_blocks_quarantined", "Blocks left out because of damage.", totals.blocks_quarantined),
            gauge("novascope_block_pages_damaged", pages, totals.pages_damaged),
            gauge("novascope_block_tombstones", tombstones, totals.tombstones),
            counter("novascope_blocks_flushed_total", "Blocks written from memory.", totals.blocks_flushed),
            counter("novascope_store_deletions_total", "Deletions carried out in memory.", totals.deletions),
        ]
    }

    /// What the start found, and how far it is.
    fn replay(&self) -> Vec<Family> {
        let (replay, found) = (self.store.replaying(), self.store.recovery());
        let gauge = |name, help, value: f64| Family::single(name, help, Kind::Gauge, value);
        let counter = |name, help, value: u64| Family::single(name, help, Kind::Counter, as_float(value));
        let mode = self.store.config().durability.name();
        let mut durability = Family::new("novascope_store_durability", "The mode of the log.", Kind::Gauge);
        durability.push(&[("mode", mode)], 1.0);
        vec![
            durability,
            gauge("novascope_replay_done", "Whether the log has been read.", f64::from(!self.store.is_replaying())),
            gauge("novascope_replay_bytes", "Bytes to be read at the start.", as_float(replay.bytes_total)),
            gauge("novascope_replay_read_bytes", "Bytes read at the start so far.", as_float(replay.bytes_done)),
            gauge("novascope_replay_seconds", "How long reading the log took.", found.millis as f64 / 1_000.0),
            counter("novascope_replay_frames_total", "Frames read from the log.", found.frames),
            counter("novascope_replay_lost_frames_total", "Frames of the log missing or damaged.", found.frames_lost),
            counter("novascope_replay_damages_total", "Damaged places found in the log.", found.damages),
            counter(
                "novascope_replay_unreadable_bytes_total",
                "Bytes of the log that the disk could not read.",
                found.unreadable_bytes,
            ),
            counter("novascope_replay_cut_segments_total", "Segments of the log that end in a cut.", found.cut_tails),
            counter("novascope_replay_orphans_total", "Samples in the log of undefined series.", found.orphans),
        ]
    }
}

fn build() -> Family {
    let mut family = Family::new("novascope_build_info", "The version that runs.", Kind::Gauge);
    family.push(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    family
}
