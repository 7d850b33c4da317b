//! The store through its public door.

use std::sync::Arc;

use crate::base::clock::{Clock, SimClock};
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::model::exemplar::Exemplar;
use crate::model::histogram::{Histogram, Span};
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::sample::STALE_NAN;
use crate::promql::source::{Column, SeriesSet as _};

use super::config::{Config, Durability};
use super::{Float, Origin, Refusal, Run, Seams, Store};

mod again;
mod backfill;
mod deletion;
mod deletion_tiers;
mod durability;
mod few;
mod flush;
mod newest;
mod room;
mod symbols;
mod tier;
mod unreadable;

const NOW: i64 = 1_700_000_000_000;

struct Fixture {
    store: Arc<Store>,
    clock: Arc<SimClock>,
    _folder: tempfile::TempDir,
}

fn open(change: impl FnOnce(&mut Config)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let mut config = Config { durability: Durability::Memory, ..Config::default() };
    change(&mut config);
    Fixture { store: Store::open(config, folder.path(), seams).unwrap(), clock: hand, _folder: folder }
}

fn up(job: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", job)])
}

fn append(store: &Store, job: &str, samples: &[(i64, f64)]) -> Vec<Result<(), Refusal>> {
    let mut appender = store.appender(Origin::new("test"));
    let series = appender.series(up(job).as_encoded()).unwrap();
    let results = samples.iter().map(|(time, value)| appender.float(series, *time, 0, *value)).collect();
    appender.commit().wait().unwrap();
    results
}

fn read(store: &Store, job: &str, mint: i64, maxt: i64) -> Vec<(i64, f64)> {
    let found = store.select(&[Matcher::new(MatchOp::Equal, "job", job).unwrap()], mint, maxt);
    let mut column = Column::default();
    if found.len() > 0 {
        found.read(0, &mut column).unwrap();
    }
    column.times.into_iter().zip(column.values).collect()
}

#[test]
fn runs_of_known_series_are_told_to_those_who_keep_results() {
    let fixture = open(|config| config.dedup_interval_ms = 0);
    append(&fixture.store, "a", &[(NOW, 1.0)]);
    let token = fixture.store.changes().token();
    let mut appender = fixture.store.appender(Origin::new("test"));
    let series = appender.series(up("a").as_encoded()).unwrap();
    let floats = [1, 2, 3].map(|at| Float { time: NOW + at * 1_000, start: 0, value: at as f64 });
    let mut refused = Vec::new();
    appender.runs(&[Run::new(series, &(1..3)), Run::new(series, &(0..1))], &floats, |run, at, refusal| {
        refused.push((run, at, refusal));
    });
    assert_eq!(appender.commit().wait().unwrap().samples, 3);
    assert_eq!(refused, []);
    assert_eq!(fixture.store.changes().since(token), NOW + 1_000);
    assert_eq!(read(&fixture.store, "a", i64::MIN, i64::MAX).len(), 4);
}

#[test]
fn samples_in_any_order_are_read_in_order() {
    let f = open(|config| config.retention_ms = None);
    let mut times: Vec<i64> = (0..3_000).map(|i| NOW - 3_000_000 + i * 1_000).chain([5, 86_400_000]).collect();
    // A fixed shuffle: every seventh, starting at each residue.
    times = (0..7).flat_map(|r| times.iter().copied().skip(r).step_by(7).collect::<Vec<_>>()).collect();
    let samples: Vec<(i64, f64)> = times.iter().map(|t| (*t, *t as f64)).collect();
    assert!(append(&f.store, "a", &samples).iter().all(Result::is_ok));
    let mut expect = samples;
    expect.sort_by_key(|s| s.0);
    assert_eq!(read(&f.store, "a", i64::MIN, i64::MAX), expect);
    assert_eq!(read(&f.store, "a", 6, 86_400_000), expect[1..2]);
}

#[test]
fn of_a_dedup_window_the_last_sample_stays() {
    let f = open(|_| {});
    let at = |ms: i64| NOW - 10_000 + ms;
    append(&f.store, "a", &[(at(100), 1.0), (at(900), 2.0), (at(1_000), 3.0), (at(3_000), 4.0)]);
    append(&f.store, "a", &[(at(500), 5.0), (at(2_100), 6.0), (at(2_600), 7.0), (at(2_200), 8.0)]);
    assert_eq!(read(&f.store, "a", 0, NOW), [(at(900), 2.0), (at(1_000), 3.0), (at(2_600), 7.0), (at(3_000), 4.0)]);
    let totals = f.store.totals();
    assert_eq!((totals.replaced, totals.superseded, totals.samples), (1, 2, 8));
}

#[test]
fn a_stale_marker_never_replaces_a_sample() {
    let f = open(|_| {});
    append(&f.store, "a", &[(NOW - 900, 1.0), (NOW - 500, STALE_NAN)]);
    let read = read(&f.store, "a", 0, NOW);
    assert_eq!((read.len(), read[1].1.to_bits()), (2, STALE_NAN.to_bits()));
}

#[test]
fn the_same_again_is_no_error_but_another_value_is() {
    let f = open(|_| {});
    let all = [(NOW - 4_000, 1.0), (NOW - 2_000, 2.0), (NOW - 3_000, 3.0)];
    append(&f.store, "a", &all);
    assert!(append(&f.store, "a", &all).iter().all(Result::is_ok));
    let time = NOW - 3_000;
    assert_eq!(append(&f.store, "a", &[(time, 4.0)]), [Err(Refusal::DuplicateTimestamp { time })]);
    assert_eq!(read(&f.store, "a", 0, NOW).len(), 3);
}

#[test]
fn what_is_outside_of_retention_or_in_the_future_is_refused() {
    let f = open(|config| config.retention_ms = Some(1_000_000));
    let refusals = append(&f.store, "a", &[(NOW - 1_000_001, 0.0), (NOW + 600_001, 0.0), (NOW + 600_000, 0.0)]);
    let reasons: Vec<_> = refusals.iter().map(|r| r.as_ref().map_err(Refusal::reason)).collect();
    assert_eq!(reasons, [Err("too_old"), Err("too_far_in_future"), Ok(&())]);
}

#[test]
fn a_clock_that_jumps_refuses_and_expires_nothing() {
    let f = open(|config| config.retention_ms = Some(1_000_000));
    append(&f.store, "old", &[(NOW - 900_000, 1.0)]);
    for jump in [NOW + 100_000_000, NOW - 100_000_000] {
        f.clock.jump_to(jump);
        assert_eq!(append(&f.store, "a", &[(NOW + jump.signum(), 1.0)]), [Ok(())]);
        f.store.maintain();
        assert_eq!(read(&f.store, "old", 0, NOW).len(), 1);
    }
    f.clock.jump_to(NOW);
    f.clock.advance(std::time::Duration::from_secs(300));
    f.store.maintain();
    assert_eq!(read(&f.store, "old", 0, NOW).len(), 0);
}

#[test]
fn a_series_leaves_with_its_last_sample() {
    let f = open(|config| config.retention_ms = Some(1_000_000));
    append(&f.store, "a", &[(NOW, 1.0)]);
    let mut appender = f.store.appender(Origin::new("test"));
    let series = appender.series(up("a").as_encoded()).unwrap();
    drop(appender);
    f.clock.advance(std::time::Duration::from_secs(1_001));
    f.store.maintain();
    assert_eq!(f.store.label_names(&[], 0, i64::MAX, 0).items, [] as [&str; 0]);
    let mut appender = f.store.appender(Origin::new("test"));
    assert_eq!(appender.float(series, NOW + 1_001_000, 0, 1.0), Err(Refusal::UnknownSeries));
    assert_eq!(f.store.totals().series, 0);
}

#[test]
fn histograms_and_floats_of_a_series_are_read_together() {
    let f = open(|_| {});
    let histogram = Histogram {
        count: 3.0,
        sum: 4.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..Histogram::default()
    };
    let mut appender = f.store.appender(Origin::new("test"));
    let series = appender.series(up("a").as_encoded()).unwrap();
    appender.float(series, NOW - 3_000, 0, 1.0).unwrap();
    appender.histogram(series, NOW - 2_000, 7, &histogram).unwrap();
    appender.float(series, NOW - 1_000, 0, STALE_NAN).unwrap();
    let broken = Histogram { positive_buckets: vec![1.0], ..histogram.clone() };
    assert_eq!(appender.histogram(series, NOW, 0, &broken).unwrap_err().reason(), "invalid_histogram");
    assert_eq!(appender.commit().wait().unwrap().histograms, 1);
    let found = f.store.select(&[], 0, NOW);
    let mut column = Column::default();
    found.read(0, &mut column).unwrap();
    assert_eq!(column.times, [NOW - 3_000, NOW - 2_000, NOW - 1_000]);
    assert_eq!(column.starts, [0, 7, 0]);
    assert_eq!(column.histograms[1].as_deref(), Some(&histogram));
}

#[test]
fn limits_refuse_the_newcomer_only() {
    let f = open(|config| {
        config.limits.series_max = 2;
        config.limits.labels_per_series_max = 2;
        config.limits.label_value_bytes_max = 10;
    });
    let mut appender = f.store.appender(Origin::new("test"));
    let mut reason = |pairs: &[(&str, &str)]| {
        appender.series(Labels::from_pairs(pairs.iter().copied()).as_encoded()).map_err(|r| r.reason())
    };
    assert!(reason(&[("a", "1")]).is_ok() && reason(&[("a", "2")]).is_ok());
    assert_eq!(reason(&[("a", "3")]), Err("series_limit"));
    assert_eq!(reason(&[("a", "1"), ("b", "1"), ("c", "1")]), Err("too_many_labels"));
    assert_eq!(reason(&[("a", "12345678901")]), Err("label_value_too_long"));
    assert_eq!(reason(&[]), Err("no_labels"));
    assert!(reason(&[("a", "1")]).is_ok());
    drop(appender);
    assert_eq!(f.store.totals().refused.iter().sum::<u64>(), 4);
}

#[test]
fn the_catalog_answers_by_sets_range_and_limit() {
    let f = open(|_| {});
    for (job, time) in [("b", NOW), ("a", NOW), ("c", NOW - 100_000)] {
        append(&f.store, job, &[(time, 1.0)]);
    }
    let sets = [vec![Matcher::new(MatchOp::Regex, "job", "b|c").unwrap()]];
    assert_eq!(f.store.label_values("job", &[], (0, NOW), 0).items, ["a", "b", "c"]);
    assert_eq!(f.store.label_values("job", &sets, (NOW - 10, NOW), 0).items, ["b"]);
    let cut = f.store.label_names(&[], 0, NOW, 1);
    assert_eq!((cut.items, cut.truncated), (vec!["__name__".to_owned()], true));
    assert_eq!(f.store.series(&sets, 0, NOW, 0).items, [up("b"), up("c")]);
    assert_eq!(f.store.stats(1).series_by_metric[0].count, 3);
}

#[test]
fn large_selections_ascend_while_series_come_and_go() {
    let f = open(|config| config.retention_ms = Some(1_000_000));
    for round in 0..4_i64 {
        let now = NOW + round * 400_000;
        let mut appender = f.store.appender(Origin::new("test"));
        for i in 0..700 {
            let labels = Labels::from_pairs([
                ("__name__", "m".to_owned()),
                ("i", ((i * 7_919 + round * 131) % 2_003).to_string()),
            ]);
            appender.sample(labels.as_encoded(), now, 0, 1.0).unwrap();
        }
        drop(appender);
        let found = f.store.select(&[], i64::MIN, i64::MAX);
        let labels: Vec<Labels> = found.iter_labels().cloned().collect();
        assert!(labels.len() >= 700 && labels.is_sorted_by(|a, b| a < b), "round {round}");
        f.clock.advance(std::time::Duration::from_secs(400));
        f.store.maintain();
    }
    assert!(f.store.totals().series_evicted > 0);
}

#[test]
fn exemplars_make_room_for_newer_ones() {
    let f = open(|config| config.exemplar_bytes_max = 1_000);
    let mut appender = f.store.appender(Origin::new("test"));
    let series = appender.series(up("a").as_encoded()).unwrap();
    for i in 0..100 {
        let exemplar =
            Exemplar { labels: Labels::from_pairs([("trace_id", i.to_string())]), value: 1.0, time: NOW + i };
        appender.exemplar(series, &exemplar).unwrap();
        appender.exemplar(series, &exemplar).unwrap();
    }
    drop(appender);
    let rows = f.store.exemplars(&[vec![]], 0, i64::MAX);
    let times: Vec<i64> = rows[0].exemplars.iter().map(|e| e.time - NOW).collect();
    assert!(
        times.len() > 3 && times.len() < 20 && times.windows(2).all(|w| w[1] == w[0] + 1) && times.last() == Some(&99)
    );
}

#[test]
fn series_are_counted_by_metric_label_pair_and_sender() {
    use crate::promql::source::{Hints, Select, Source};
    let f = open(|_| {});
    let mut appender = f.store.appender(Origin::new("test"));
    for n in 0..6 {
        let metric = if n < 4 { "requests" } else { "errors" };
        let labels = [("__name__", metric), ("job", "api"), ("n", &n.to_string())];
        let labels = Labels::from_pairs(labels.into_iter().chain((n < 2).then_some(("instance", "a:1"))));
        appender.sample(labels.as_encoded(), NOW, 0, 1.0).unwrap();
    }
    appender.commit().wait().unwrap();
    let wanted = super::cardinality::Wanted { focus: Some("n".to_owned()), top: 2, ..Default::default() };
    let all = f.store.cardinality(&wanted, &|| false);
    let pairs = |list: &[super::TopEntry]| {
        list.iter().map(|entry| format!("{} {}", entry.name, entry.count)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!((all.series, all.label_pairs), (6, 10));
    assert_eq!(pairs(&all.by_metric), "requests 4, errors 2");
    assert_eq!(pairs(&all.by_label), "__name__ 6, job 6");
    assert_eq!(pairs(&all.by_pair), "job=api 6, __name__=requests 4");
    assert_eq!(pairs(&all.values_by_label), "n 6, __name__ 2");
    assert_eq!(pairs(&all.by_focus), "0 1, 1 1");
    let senders: Vec<_> = all.by_sender.iter().map(|s| (s.job.as_str(), s.instance.as_str(), s.series)).collect();
    assert_eq!(senders, [("api", "", 4), ("api", "a:1", 2)]);
    // Of two sets that share series each is counted once; a range asks blocks and memory.
    let set = |name: &str, value: &str| vec![Matcher::new(MatchOp::Equal, name, value).unwrap()];
    let some = super::cardinality::Wanted {
        sets: vec![set("job", "api"), set("__name__", "errors")],
        range: Some((NOW - 1, NOW)),
        ..wanted
    };
    assert_eq!(f.store.cardinality(&some, &|| false).series, 6);
    assert!(f.store.cardinality(&some, &|| true).series == 6, "few series are not worth a look");
    // Queries are noted by the metrics that they find.
    let select = |matchers| Select { matchers, mint: NOW - 1, maxt: NOW, hints: Hints::default() };
    let ask = |matchers| drop(Source::select(&*f.store, &select(matchers)).unwrap());
    ask(set("__name__", "errors"));
    ask(set("__name__", "nothing"));
    ask(set("job", "api"));
    let count = |name: &str| f.store.queried(name).map(|queried| (queried.count, queried.last));
    assert_eq!(count("errors"), Some((2, NOW)));
    assert_eq!((count("requests"), count("nothing")), (Some((1, NOW)), None));
    let churn = f.store.churn(1);
    assert_eq!((churn.hour.created, pairs(&churn.makers).as_str()), (6, "requests 4"));
}
