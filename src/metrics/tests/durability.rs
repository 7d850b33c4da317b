//! What is there after a restart.

use super::*;
use crate::metrics::audit::audit_log;
use crate::metrics::record::DEFINITIONS;
use crate::model::metadata::{Metadata, MetricType};
use crate::storage::wal::reader::FrameReader;

fn reopen(folder: &std::path::Path, change: impl FnOnce(&mut Config)) -> Arc<Store> {
    let (clock, _) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let mut config = Config::default();
    change(&mut config);
    Store::open(config, folder, seams).unwrap()
}

/// Compares without printing everything.
#[track_caller]
fn check_same(store: &Store, expect: &[String], what: &str) {
    let got = dump(store);
    let differs = got.iter().zip(expect).position(|(a, b)| a != b);
    assert_eq!((got.len(), differs), (expect.len(), None), "{what}");
}

/// Everything that can be read, as text.
fn dump(store: &Store) -> Vec<String> {
    let found = store.select(&[], i64::MIN, i64::MAX);
    let mut out = Vec::new();
    let mut column = Column::default();
    for index in 0..found.len() {
        column.clear();
        found.read(index, &mut column).unwrap();
        let values: Vec<u64> = column.values.iter().map(|v| v.to_bits()).collect();
        out.push(format!(
            "{} {:?} {values:?} {:?} {:?}",
            found.labels(index),
            column.times,
            column.starts,
            column.histograms
        ));
    }
    out.push(format!("{:?}", store.metadata(None, 0, 0)));
    out.push(format!("{:?}", store.exemplars(&[vec![]], i64::MIN, i64::MAX)));
    out
}

fn fill(store: &Store, round: i64) {
    let mut appender = store.appender(Origin::new("test"));
    for job in 0..20 {
        let series = appender.series(up(&format!("job-{job}")).as_encoded()).unwrap();
        for i in 0..150 {
            let time = NOW - 2_000_000 + round * 150_000 + i * 1_000;
            appender.float(series, time, if job == 3 { 7 } else { 0 }, (i * job) as f64 / 8.0).unwrap();
        }
        appender.float(series, NOW - 3_000_000 - round * 1_000, 0, STALE_NAN).unwrap();
    }
    let series = appender.series(up("histogram").as_encoded()).unwrap();
    let histogram = Histogram { count: round as f64, sum: 0.5, ..Histogram::default() };
    appender.histogram(series, NOW - 1_000_000 + round * 1_000, 0, &histogram).unwrap();
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "t")]), value: 1.0, time: NOW + round };
    appender.exemplar(series, &exemplar).unwrap();
    let help = format!("help {round}");
    appender.metadata("up", &Metadata { kind: MetricType::Gauge, unit: String::new(), help });
    appender.commit().wait().unwrap();
}

#[test]
fn everything_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut expect = Vec::new();
    for round in 0..4 {
        let store = reopen(folder.path(), |_| {});
        if round > 0 {
            check_same(&store, &expect, &format!("round {round}"));
            assert_eq!(store.recovery().orphans + store.recovery().frames_lost + store.recovery().cut_tails, 0);
        }
        fill(&store, round);
        expect = dump(&store);
        // Rounds end by a kill, a snapshot and a kill, a clean close, a kill.
        match round {
            1 => store.snapshot().unwrap(),
            2 => store.close().unwrap(),
            _ => {}
        }
    }
    let store = reopen(folder.path(), |_| {});
    check_same(&store, &expect, "at the end");
    assert_eq!(store.totals().series, 21);
}

#[test]
fn a_second_process_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = reopen(folder.path(), |_| {});
    let (clock, _) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let error = Store::open(Config::default(), folder.path(), seams).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[test]
fn a_long_log_becomes_a_snapshot_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let shrink = |config: &mut Config| {
        config.wal.segment_bytes_max = 10_000;
        config.wal.snapshot_after_bytes = 60_000;
    };
    let store = reopen(folder.path(), shrink);
    let mut snapshots = 0;
    for round in 0..8 {
        fill(&store, round);
        store.maintain();
        assert!(store.totals().wal.live_bytes <= 160_000, "{:?}", store.totals().wal);
        snapshots = store.totals().snapshots;
    }
    assert!(snapshots > 0);
    let expect = dump(&store);
    drop(store);
    check_same(&reopen(folder.path(), shrink), &expect, "after a kill");
}

#[test]
fn a_commit_wakes_the_task_that_awaits_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path(), |_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut appender = store.appender(Origin::new("test"));
    appender.sample(up("a").as_encoded(), NOW, 0, 1.0).unwrap();
    assert_eq!(runtime.block_on(appender.commit()).unwrap().samples, 1);
    let empty = store.appender(Origin::new("test")).commit();
    assert_eq!(runtime.block_on(empty).unwrap().samples, 0);
}

/// A store that was killed, opened again but for its log.
fn begun(folder: &std::path::Path) -> Arc<Store> {
    let (clock, _) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    Store::begin(Config::default(), folder, seams).unwrap()
}

#[test]
fn samples_that_come_while_the_log_is_read_join_those_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path(), |_| {});
    fill(&store, 0);
    drop(store);
    let store = begun(folder.path());
    assert_eq!((store.is_replaying(), store.replaying().percent()), (true, 0));
    // The same as in the log, newer than it, older than it, and of new series.
    fill(&store, 0);
    fill(&store, 1);
    let before = store.select(&[], i64::MIN, i64::MAX);
    assert!(before.notes().warnings.iter().any(|text| text.contains("the log is still being read")));
    let stale = store.appender(Origin::new("test")).series(up("job-3").as_encoded()).unwrap();
    assert!(store.snapshot().is_err() && store.flush().is_err(), "neither may take what is here for everything");
    store.maintain();
    store.replay().unwrap();
    assert_eq!((store.is_replaying(), store.replaying().percent()), (false, 100));
    assert!(store.select(&[], i64::MIN, i64::MAX).notes().warnings.is_empty());
    let mut appender = store.appender(Origin::new("test"));
    assert_eq!(appender.float(stale, NOW, 0, 1.0), Err(Refusal::UnknownSeries), "what was looked up before is stale");
    drop(appender);

    let twin = tempfile::tempdir().unwrap();
    let plain = reopen(twin.path(), |_| {});
    for round in [0, 0, 1] {
        fill(&plain, round);
    }
    check_same(&store, &dump(&plain), "as if it had never stopped");
    assert_eq!(store.totals().series, plain.totals().series);
    drop(store);
    // The log now has frames of two runs that name the same series differently.
    let again = reopen(folder.path(), |_| {});
    check_same(&again, &dump(&plain), "after another kill");
    assert_eq!(again.recovery().orphans + again.recovery().frames_lost, 0);
    again.close().unwrap();
    drop(again);
    check_same(&reopen(folder.path(), |_| {}), &dump(&plain), "after a clean end");
}

#[test]
fn a_store_that_is_closed_while_it_reads_its_log_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path(), |_| {});
    fill(&store, 0);
    let expect = dump(&store);
    drop(store);
    let store = begun(folder.path());
    store.close().unwrap();
    store.replay().unwrap();
    assert!(store.is_replaying(), "it stopped");
    drop(store);
    check_same(&reopen(folder.path(), |_| {}), &expect, "at the next start");
}

/// Where the payloads of definitions stand in a file of the log.
fn definitions(path: &std::path::Path) -> Vec<u64> {
    let file = Disk::real().open(path).unwrap();
    let mut reader = FrameReader::new(&file).unwrap();
    let mut found = Vec::new();
    while let Some((header, _)) = reader.next_frame() {
        let len = u64::from(header.len);
        found.extend((header.kind == DEFINITIONS).then(|| reader.position() - len));
    }
    found
}

#[test]
fn a_bit_of_a_definition_costs_nothing_in_segments_and_snapshots() {
    for kind in ["wal", "snapshot"] {
        let folder = tempfile::tempdir().unwrap();
        let store = reopen(folder.path(), |_| {});
        fill(&store, 0);
        if kind == "snapshot" {
            store.snapshot().unwrap();
        }
        let expect = dump(&store);
        drop(store);
        let files: Vec<_> = std::fs::read_dir(folder.path().join("wal")).unwrap().map(|file| file.unwrap()).collect();
        let of_kind = files.iter().filter(|file| file.path().extension().is_some_and(|suffix| suffix == kind));
        let hits: Vec<_> =
            of_kind.flat_map(|file| definitions(&file.path()).into_iter().map(|at| (file.file_name(), at))).collect();
        assert!(hits.len() >= 2, "{hits:?}");
        for (name, at) in hits {
            let damaged = tempfile::tempdir().unwrap();
            let wal = damaged.path().join("wal");
            std::fs::create_dir(&wal).unwrap();
            for file in &files {
                std::fs::copy(file.path(), wal.join(file.file_name())).unwrap();
            }
            let mut bytes = std::fs::read(wal.join(&name)).unwrap();
            bytes[at as usize + 9] ^= 4;
            std::fs::write(wal.join(&name), bytes).unwrap();
            let audit = audit_log(&Disk::real(), &wal).unwrap();
            let faults: Vec<_> = audit.files.iter().flat_map(|file| &file.faults).collect();
            assert!(!faults.is_empty() && !faults.iter().any(|fault| fault.contains("not defined")), "{faults:?}");
            let store = reopen(damaged.path(), |_| {});
            check_same(&store, &expect, &format!("{name:?} at {at}"));
            let recovery = store.recovery();
            assert_eq!((recovery.orphans, recovery.damages + recovery.cut_tails), (0, 1), "{recovery:?}");
        }
    }
}
