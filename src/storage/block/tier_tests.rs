//! Tiers through the door of blocks: when they are made, what they stand for, what goes and what stays.

use std::path::Path;

use super::*;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::Column;

const DAY: i64 = 12 * WINDOW_MS;
const T: i64 = 1_790_006_400_000 - 1_790_006_400_000 % DAY;

fn open(folder: &Path) -> Blocks {
    Blocks::open(Disk::real(), folder, 1 << 20, Rng::from_seed(1)).unwrap().0
}

fn labels(name: &str, job: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", job)])
}

fn value(time: i64) -> f64 {
    ((time / 1_000) % 1_999) as f64 / 4.0
}

/// Samples of three series every `every` ms after `from`, up to and with `to`.
fn flush(blocks: &Blocks, (from, to): (i64, i64), every: i64) {
    let mut writer = WindowWriter::new(blocks, T, (from, to));
    for (name, job) in [("dwcp_consensus_x", "vm"), ("up", "debug"), ("up", "vm")] {
        let mut column = Column::default();
        (from + every..=to).step_by(every as usize).for_each(|time| column.push_float(time, 0, value(time)));
        writer.add(&labels(name, job), &column).unwrap();
    }
    let finished = writer.finish().unwrap();
    blocks.publish(&finished, &[]).unwrap();
}

/// Does what is due until nothing is.
#[track_caller]
fn work(blocks: &Blocks, policy: &Policy) {
    for _ in 0..100 {
        let Some(job) = blocks.next_job(policy) else { return };
        job.run(blocks, T).unwrap();
    }
    panic!("there is always something to do");
}

fn read(blocks: &Blocks, wanted: Wanted) -> (Vec<(Labels, Column)>, Remarks) {
    let version = blocks.version();
    let mut remarks = Remarks::default();
    let selected = version.select(&[], wanted, &mut remarks);
    let mut all = Vec::new();
    for series in &selected.series {
        let mut column = Column::default();
        version.read(series, (wanted, &[]), &mut column, &mut remarks);
        all.push((series.labels.clone(), column));
    }
    (all, remarks)
}

fn asked(shape: Shape, (mint, maxt): (i64, i64)) -> Wanted {
    Wanted { mint, maxt, asked: Asked { shape, grid: 60_000, inner: 0 } }
}

fn class(matcher: Option<(&str, &str)>, raw: i64, tiers: [i64; 2]) -> Class {
    let matchers = matcher.map(|(name, value)| Matcher::new(MatchOp::Regex, name, value).unwrap());
    Class { matchers: matchers.into_iter().collect(), raw, tiers: tiers.to_vec() }
}

fn policy(classes: Vec<Class>) -> Policy {
    Policy { now: i64::MAX, tiers: vec![10_000, 60_000], classes, bytes_max: None }
}

fn keep_all() -> Policy {
    policy(vec![class(None, i64::MIN, [i64::MIN; 2])])
}

fn resolutions(blocks: &Blocks) -> Vec<i64> {
    let mut all: Vec<i64> = blocks.version().blocks().iter().map(|block| block.meta().resolution).collect();
    all.sort_unstable();
    all
}

#[test]
fn wide_windows_are_made_at_once_and_narrow_ones_before_raw_samples_go() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = open(folder.path());
    flush(&blocks, (T, T + WINDOW_MS), 1_000);
    work(&blocks, &keep_all());
    assert_eq!(resolutions(&blocks), [0, 60_000]);
    // A merge carries them along.
    flush(&blocks, (T + WINDOW_MS, T + DAY + WINDOW_MS), 1_000);
    work(&blocks, &keep_all());
    assert_eq!(resolutions(&blocks), [0, 0, 60_000, 60_000]);
    let range = (T + 1, T + DAY);
    let (raw, _) = read(&blocks, Wanted::raw(range.0, range.1));
    let (rolled, remarks) = read(&blocks, asked(Shape::Sum, range));
    assert_eq!(remarks, Remarks::default());
    let total = |column: &Column| column.values.iter().sum::<f64>();
    for ((labels, raw), (_, rolled)) in raw.iter().zip(&rolled) {
        assert_eq!((raw.len(), rolled.len()), (86_400, 1_440), "{labels}");
        assert_eq!(rolled.weights.iter().sum::<u32>(), 86_400);
        assert_eq!(total(raw), total(rolled));
    }
    // Raw samples near their end get what outlives them; then they go.
    let soon = policy(vec![class(None, T + WINDOW_MS, [T, T])]);
    work(&blocks, &soon);
    assert!(resolutions(&blocks).contains(&10_000));
    // Steps that lie beside whole minutes are answered from them, beside the samples too.
    let aside = (T + 10_001, T + WINDOW_MS - 50_000);
    let beside = Asked { shape: Shape::Sum, grid: 10_000, inner: 0 };
    let (rolled, _) = read(&blocks, Wanted { mint: aside.0, maxt: aside.1, asked: beside });
    let (samples, _) = read(&blocks, Wanted::raw(aside.0, aside.1));
    assert_eq!((rolled[0].1.len(), samples[0].1.len()), (714, 7_140));
    assert_eq!(total(&rolled[0].1), total(&samples[0].1));
    let over = policy(vec![class(None, T + 3 * DAY, [T, T])]);
    work(&blocks, &over);
    assert!(!resolutions(&blocks).contains(&0));
    let (left, remarks) = read(&blocks, asked(Shape::Sum, range));
    assert_eq!(total(&left[0].1), total(&raw[0].1));
    assert!(remarks.infos.iter().any(|info| info.contains("windows of 1m")), "{remarks:?}");
    let (finest, remarks) = read(&blocks, Wanted::raw(range.0, range.1));
    assert_eq!(finest[0].1.len(), 8_640);
    assert!(remarks.infos.iter().any(|info| info.contains("windows of 10s")), "{remarks:?}");
    // The narrow ones go next, and the wide ones are what is left.
    work(&blocks, &policy(vec![class(None, T + 3 * DAY, [T + 3 * DAY, T])]));
    assert_eq!(resolutions(&blocks).iter().filter(|r| **r != 60_000).count(), 0);
    assert_eq!(read(&blocks, Wanted::raw(range.0, range.1)).0[0].1.len(), 1_440);
}

#[test]
fn rules_take_single_series_away_and_free_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = open(folder.path());
    flush(&blocks, (T, T + WINDOW_MS), 1_000);
    work(&blocks, &keep_all());
    let bytes = blocks.version().bytes();
    let late = T + 9 * DAY;
    // Everything is older than `late`: debug series go altogether, the others keep windows, one keeps samples as well.
    let rules = policy(vec![
        class(None, late, [T; 2]),
        class(Some(("__name__", "dwcp_consensus.*")), T, [T; 2]),
        class(Some(("job", "debug")), late, [late; 2]),
    ]);
    work(&blocks, &rules);
    assert!(blocks.version().bytes() < bytes, "{} of {bytes} bytes", blocks.version().bytes());
    let range = (T + 1, T + WINDOW_MS);
    let (left, _) = read(&blocks, Wanted::raw(range.0, range.1));
    let lens: Vec<(String, usize)> = left.iter().map(|(l, c)| (l.metric_name().to_owned(), c.len())).collect();
    assert_eq!(lens, [("dwcp_consensus_x".to_owned(), 7_200), ("up".to_owned(), 720)]);
    assert_eq!(left[1].0.get("job"), Some("vm"));
    let (sums, _) = read(&blocks, asked(Shape::Count, range));
    assert_eq!(sums.iter().map(|(_, c)| (c.len(), c.weights.iter().sum())).collect::<Vec<_>>(), [(120, 7_200); 2]);
    // Once more after a restart: nothing more is to be done, and nothing comes back.
    drop(blocks);
    let blocks = open(folder.path());
    work(&blocks, &rules);
    assert_eq!(read(&blocks, Wanted::raw(range.0, range.1)).0.len(), 2);
    work(&blocks, &policy(vec![class(None, late, [late; 2])]));
    assert_eq!(blocks.version().blocks().len(), 0);
}

#[test]
fn late_samples_correct_the_windows_that_they_are_in() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = open(folder.path());
    flush(&blocks, (T, T + WINDOW_MS), 1_000);
    work(&blocks, &keep_all());
    let range = (T + 1, T + WINDOW_MS);
    let max = |blocks: &Blocks| {
        let (found, _) = read(blocks, asked(Shape::Max, range));
        let values = found[0].1.values.iter().copied().fold(f64::MIN, f64::max);
        (found[0].1.len(), values)
    };
    assert_eq!(max(&blocks).0, 120);
    let backfill = |blocks: &Blocks, time: i64| {
        let mut writer = WindowWriter::new(blocks, T, (time, time));
        let mut column = Column::default();
        column.push_float(time, 0, 5_000.0);
        writer.add(&labels("dwcp_consensus_x", "vm"), &column).unwrap();
        let finished = writer.finish().unwrap();
        blocks.publish(&finished, &[]).unwrap();
    };
    backfill(&blocks, T + 90_500);
    assert_eq!(max(&blocks), (7_201, 5_000.0), "until the windows are made anew raw samples answer");
    work(&blocks, &keep_all());
    assert_eq!(max(&blocks), (120, 5_000.0));
    // When the samples are gone, what comes late is joined with their windows.
    let over = policy(vec![class(None, T + 3 * DAY, [T; 2])]);
    work(&blocks, &over);
    let orphans = blocks.version().blocks().len();
    backfill(&blocks, T + 3_600_500);
    work(&blocks, &over);
    assert_eq!(blocks.version().blocks().len(), orphans);
    let (found, _) = read(&blocks, asked(Shape::Count, range));
    assert_eq!((found[0].1.len(), found[0].1.weights.iter().sum::<u32>()), (120, 7_202));
}

#[test]
fn a_damaged_tier_is_not_missed_while_samples_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = open(folder.path());
    flush(&blocks, (T, T + WINDOW_MS), 1_000);
    work(&blocks, &keep_all());
    let tier = blocks.version().blocks().iter().find(|block| block.meta().resolution > 0).unwrap().meta().id;
    drop(blocks);
    let path = folder.path().join(format!("{tier}.block"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let blocks = open(folder.path());
    let (found, remarks) = read(&blocks, asked(Shape::Max, (T + 1, T + WINDOW_MS)));
    assert_eq!((found[0].1.len(), remarks), (7_200, Remarks::default()));
}
