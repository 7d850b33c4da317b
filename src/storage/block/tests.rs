//! Blocks through their door: flush, publish, select, read; then damage, merging, expiry and leftovers.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::Column;

const T: i64 = 1_790_006_400_000;
const ALL: (i64, i64) = (i64::MIN, i64::MAX);

fn open(folder: &Path) -> (Blocks, Warnings) {
    Blocks::open(Disk::real(), folder, 1 << 20, Rng::from_seed(1)).unwrap()
}

fn labels(host: usize, name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("host", &format!("h{host:03}")), ("job", "vm")])
}

/// `hosts` x 2 series with a sample a second after `from`, up to and with `to`.
fn flush(blocks: &Blocks, hosts: usize, from: i64, to: i64) {
    let mut writer = WindowWriter::new(blocks, T, (from, to));
    for name in ["cpu", "mem"] {
        for host in 0..hosts {
            let mut column = Column::default();
            for time in (from + 1_000..=to).step_by(1_000) {
                column.push_float(time, 0, value(host, time));
            }
            writer.add(&labels(host, name), &column).unwrap();
        }
    }
    let finished = writer.finish().unwrap();
    blocks.publish(&finished, &[]).unwrap();
}

fn value(host: usize, time: i64) -> f64 {
    ((time / 1_000) % 1_000 * (host as i64 + 1)) as f64 / 100.0
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

fn read(blocks: &Blocks, matchers: &[Matcher], range: (i64, i64)) -> (Vec<(Labels, Column)>, BTreeSet<String>) {
    read_wanted(blocks, matchers, Wanted::raw(range.0, range.1))
}

fn read_wanted(blocks: &Blocks, matchers: &[Matcher], wanted: Wanted) -> (Vec<(Labels, Column)>, BTreeSet<String>) {
    let version = blocks.version();
    let mut remarks = Remarks::default();
    let selected = version.select(matchers, wanted, &mut remarks);
    let read = |series: &Series| {
        let mut column = Column::default();
        version.read(series, (wanted, &[]), &mut column, &mut remarks);
        (series.labels.clone(), column)
    };
    let all = selected.series.iter().map(read).collect();
    (all, remarks.warnings)
}

/// Raw samples stay from a time on, and no windows are made.
fn raw_from(raw: i64) -> Policy {
    Policy {
        now: i64::MAX,
        tiers: vec![],
        classes: vec![Class { matchers: vec![], raw, tiers: vec![] }],
        bytes_max: None,
    }
}

#[track_caller]
fn check_values(series: &[(Labels, Column)], from: i64, to: i64) {
    for (labels, column) in series {
        let host: usize = labels.get("host").unwrap()[1..].parse().unwrap();
        assert_eq!(column.times, (from + 1_000..=to).step_by(1_000).collect::<Vec<_>>(), "{labels}");
        assert!(column.times.iter().zip(&column.values).all(|(time, v)| *v == value(host, *time)), "{labels}");
    }
}

#[test]
fn what_was_flushed_is_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, warnings) = open(folder.path());
    assert_eq!(warnings, Vec::<String>::new());
    flush(&blocks, 20, T, T + 5 * 3_600_000);
    assert_eq!(blocks.version().blocks().len(), 3);
    drop(blocks);
    let (blocks, warnings) = open(folder.path());
    assert_eq!(warnings, Vec::<String>::new());
    let (all, notes) = read(&blocks, &[], ALL);
    assert_eq!((all.len(), notes.len()), (40, 0));
    assert!(all.is_sorted_by(|a, b| a.0 < b.0));
    check_values(&all, T, T + 5 * 3_600_000);
    let window = (T + 7_190_000, T + 7_209_000);
    let (some, _) = read(&blocks, &[matcher(MatchOp::Regex, "host", "h00[1-3]")], window);
    assert_eq!(some.len(), 6);
    check_values(&some, T + 7_189_000, T + 7_209_000);
    let names = |matchers: &[Matcher]| read(&blocks, matchers, ALL).0.len();
    assert_eq!(names(&[matcher(MatchOp::Equal, "__name__", "cpu")]), 20);
    assert_eq!(names(&[matcher(MatchOp::NotEqual, "__name__", "cpu"), matcher(MatchOp::Equal, "host", "h007")]), 1);
    assert_eq!(names(&[matcher(MatchOp::NotRegex, "host", "h0.*")]), 0);
    assert_eq!(names(&[matcher(MatchOp::Equal, "absent", "")]), 40);
    assert_eq!(names(&[matcher(MatchOp::Equal, "job", "none")]), 0);
    let mut values = BTreeSet::new();
    blocks.version().label_values("__name__", &[], (T, T + 5_000), |value| {
        values.insert(value.to_owned());
    });
    assert_eq!(values.into_iter().collect::<Vec<_>>(), ["cpu", "mem"]);
    // Of few series and of many, by rows and by lists.
    for (pattern, count) in [("h007", 1), ("h0[01].*", 20)] {
        let sets = [vec![matcher(MatchOp::Regex, "host", pattern), matcher(MatchOp::Equal, "__name__", "cpu")]];
        let mut values = BTreeSet::new();
        blocks.version().label_values("host", &sets, (T, T + 5_000), |value| {
            values.insert(value.to_owned());
        });
        assert_eq!(values.len(), count.min(20));
        let mut names = BTreeSet::new();
        blocks.version().label_names(&sets, (T, T + 5_000), |name| {
            names.insert(name.to_owned());
        });
        assert!(names.contains("host") && names.contains("__name__"), "{names:?}");
        let mut none = 0;
        blocks.version().label_values("host", &sets, (T - 9_000_000, T - 8_000_000), |_| none += 1);
        assert_eq!(none, 0);
    }
}

#[test]
fn one_flipped_bit_costs_a_page_or_a_block_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, _) = open(folder.path());
    flush(&blocks, 40, T, T + 7_200_000);
    flush(&blocks, 40, T + 7_200_000, T + 2 * 7_200_000);
    let path = folder.path().join(format!("{}.block", blocks.version().blocks()[0].meta().id));
    let (whole, _) = read(&blocks, &[], ALL);
    drop(blocks);
    let good = std::fs::read(&path).unwrap();
    let rng = Rng::from_seed(3);
    for round in 0..60u64 {
        // The tail holds index and footer: half the flips go there.
        let bits = good.len() as u64 * 8;
        let bit = if round % 2 == 0 { rng.below(bits) } else { bits - 1 - rng.below(bits.min(40_000)) } as usize;
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bad).unwrap();
        let (blocks, warnings) = open(folder.path());
        let (found, notes) = read(&blocks, &[], ALL);
        assert!(!warnings.is_empty() || !notes.is_empty(), "bit {bit} was not noticed");
        assert_eq!(found.len(), whole.len(), "the other block has every series");
        for ((labels, column), (_, expect)) in found.iter().zip(&whole) {
            let host: usize = labels.get("host").unwrap()[1..].parse().unwrap();
            assert!(column.times.iter().zip(&column.values).all(|(time, v)| *v == value(host, *time)), "bit {bit}");
            assert!(column.len() * 2 >= expect.len(), "bit {bit}: the other block was not damaged");
        }
    }
}

#[test]
fn merging_keeps_every_sample_and_the_newest_of_two() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, _) = open(folder.path());
    let base = T - T.rem_euclid(4 * WINDOW_MS);
    for window in 0..5 {
        flush(&blocks, 5, base + window * WINDOW_MS, base + (window + 1) * WINDOW_MS);
    }
    // A late flush into the second window: one sample between others, one in the place of another.
    let mut late = Column::default();
    late.push_float(base + WINDOW_MS + 500, 0, -1.0);
    late.push_float(base + WINDOW_MS + 2_000, 0, -2.0);
    let mut writer = WindowWriter::new(&blocks, T + 1, (base, base + 2 * WINDOW_MS));
    writer.add(&labels(2, "cpu"), &late).unwrap();
    writer.add(&labels(9, "cpu"), &late).unwrap();
    let finished = writer.finish().unwrap();
    blocks.publish(&finished, &[]).unwrap();
    let (before, _) = read(&blocks, &[], ALL);
    let mut jobs = 0;
    while let Some(job) = blocks.next_job(&Policy::default()) {
        job.run(&blocks, T + 2).unwrap();
        jobs += 1;
    }
    assert!(jobs >= 1);
    let raw = |block: &&std::sync::Arc<Block>| block.meta().resolution == 0;
    assert_eq!(blocks.version().blocks().iter().filter(raw).count(), 2);
    let (after, notes) = read(&blocks, &[], ALL);
    assert!(notes.is_empty());
    assert_eq!(before.len(), after.len());
    for ((a, x), (b, y)) in before.iter().zip(&after) {
        assert_eq!((a, &x.times, &x.values), (b, &y.times, &y.values));
    }
    let (odd, _) = read(&blocks, &[matcher(MatchOp::Equal, "host", "h009")], ALL);
    assert_eq!(odd[0].1.values, [-1.0, -2.0]);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 5, "two blocks, each with one of windows, and the manifest");
}

#[test]
fn expired_blocks_go_and_leftovers_of_a_crash_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, _) = open(folder.path());
    flush(&blocks, 2, T, T + 4 * WINDOW_MS);
    let pinned = blocks.version();
    let job = blocks.next_job(&raw_from(T + 2 * WINDOW_MS + 1)).unwrap();
    assert_eq!(job.run(&blocks, T).unwrap().removed.len(), 2);
    assert_eq!(blocks.version().bounds(), Some((T + 2 * WINDOW_MS + 1_000, T + 4 * WINDOW_MS)));
    let (mut remarks, wanted) = (Remarks::default(), Wanted::raw(i64::MIN, i64::MAX));
    let selected = pinned.select(&[], wanted, &mut remarks);
    let mut column = Column::default();
    pinned.read(&selected.series[0], (wanted, &[]), &mut column, &mut remarks);
    assert_eq!((column.len(), remarks), (4 * 7_200, Remarks::default()), "a reader keeps what it began with");
    let one = blocks.version().blocks()[1].len();
    let job = blocks.next_job(&Policy { bytes_max: Some(one), ..Policy::default() }).unwrap();
    job.run(&blocks, T).unwrap();
    assert_eq!(blocks.version().blocks().len(), 1);
    // A block that was finished but not published, and one that was not finished.
    let mut writer = WindowWriter::new(&blocks, T, (0, 1));
    let mut column = Column::default();
    column.push_float(1, 0, 1.0);
    writer.add(&labels(1, "x"), &column).unwrap();
    assert_eq!(writer.finish().unwrap().len(), 1);
    std::fs::write(folder.path().join("x.block.tmp"), b"half").unwrap();
    drop(blocks);
    let (blocks, warnings) = open(folder.path());
    assert_eq!((blocks.version().blocks().len(), warnings.len()), (1, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_lost_manifest_is_rebuilt_from_the_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, _) = open(folder.path());
    flush(&blocks, 2, T, T + 3 * WINDOW_MS);
    drop(blocks);
    std::fs::remove_file(folder.path().join("MANIFEST")).unwrap();
    let (blocks, warnings) = open(folder.path());
    assert_eq!((blocks.version().blocks().len(), warnings.len()), (3, 1));
    drop(blocks);
    assert_eq!(open(folder.path()).1, Vec::<String>::new());
}

#[test]
fn an_audit_accounts_for_every_sample_and_finds_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, _) = open(folder.path());
    flush(&blocks, 40, T, T + 7_200_000);
    drop(blocks);
    let opened = open_all(&Disk::real(), folder.path()).unwrap();
    let (path, block) = opened.into_iter().next().unwrap();
    let block = block.unwrap();
    let found = audit(&block);
    assert_eq!(found.faults, Vec::<String>::new());
    assert_eq!(check_manifest(&Disk::real(), folder.path(), &[&block]), Vec::<String>::new());
    assert_eq!(found.by_metric["cpu"].samples, 40 * 7_200);
    assert_eq!(found.by_codec.values().map(|usage| usage.samples).sum::<u64>(), block.meta().samples);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let (_, block) = open_all(&Disk::real(), folder.path()).unwrap().remove(0);
    let found = audit(&block.unwrap());
    assert!(
        !found.faults.is_empty() && found.faults.iter().all(|fault| fault.contains("page 0")),
        "{:?}",
        found.faults
    );
}
