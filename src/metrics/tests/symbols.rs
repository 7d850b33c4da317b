//! Series come and go, and those that share a label share its text: every answer about labels is that of plain sets.

use std::collections::BTreeSet;

use super::*;

fn some_labels(rng: &Rng) -> Labels {
    let long = "x".repeat(70);
    let mut labels = Labels::empty().to_builder();
    labels.set("__name__", &format!("metric_{}", rng.below(5)));
    labels.set("instance", &format!("vm-{:03}.region-{}.example:9100", rng.below(60), rng.below(2)));
    if rng.chance(0.7) {
        labels.set("job", ["api", "db", "ß-agent", &long][rng.below(4) as usize]);
    }
    if rng.chance(0.1) {
        labels.set("request", &format!("{:016x}", rng.below(u64::MAX)));
    }
    labels.build()
}

fn names_of(store: &Store, matchers: &[Matcher]) -> Vec<Labels> {
    store.select(matchers, i64::MIN, i64::MAX).iter_labels().cloned().collect()
}

#[track_caller]
fn check(store: &Store, expect: &BTreeSet<Labels>) {
    let all: Vec<Labels> = expect.iter().cloned().collect();
    assert_eq!(names_of(store, &[]), all);
    let job = Matcher::new(MatchOp::Equal, "job", "ß-agent").unwrap();
    let agents: Vec<Labels> = all.iter().filter(|labels| labels.get("job") == Some("ß-agent")).cloned().collect();
    assert_eq!(names_of(store, std::slice::from_ref(&job)), agents);
    for name in ["instance", "request"] {
        // Once of all series, once of some, which are looked at one by one.
        let values = |of: &[Labels]| of.iter().filter_map(|labels| labels.get(name).map(str::to_owned)).collect();
        let (every, some): (BTreeSet<String>, BTreeSet<String>) = (values(&all), values(&agents));
        let listed = |sets: &[Vec<Matcher>]| store.label_values(name, sets, (i64::MIN, i64::MAX), 0).items;
        assert_eq!(listed(&[]), every.into_iter().collect::<Vec<_>>());
        assert_eq!(listed(&[vec![job.clone()]]), some.into_iter().collect::<Vec<_>>());
    }
}

/// Of what is in memory, which is everything until something is flushed.
#[track_caller]
fn check_counts(store: &Store, expect: &BTreeSet<Labels>) {
    let wanted = crate::metrics::cardinality::Wanted { top: 1_000, ..Default::default() };
    let counted = store.cardinality(&wanted, &|| false);
    assert_eq!(counted.series, expect.len() as u64);
    let agents = expect.iter().filter(|labels| labels.get("job") == Some("ß-agent")).count();
    let counted = counted.by_pair.iter().find(|entry| entry.name == "job=ß-agent").map_or(0, |entry| entry.count);
    assert_eq!(counted, agents as u64);
}

#[test]
fn labels_of_series_that_come_and_go_are_those_that_were_sent() {
    let seed = 145;
    println!("seed {seed}");
    let rng = Rng::from_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut expect, mut sorted_by_rank) = (BTreeSet::new(), false);
    for life in 0..4 {
        let (clock, _) = Clock::simulated(NOW + life * 1_000_000);
        let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
        let config = Config { durability: Durability::Fast, retention_ms: None, ..Config::default() };
        let store = Store::open(config, folder.path(), seams).unwrap();
        check(&store, &expect);
        for round in 0..12 {
            let mut appender = store.appender(Origin::new("test"));
            for _ in 0..rng.below(120) {
                let labels = some_labels(&rng);
                let time = NOW + life * 1_000_000 + round * 1_000;
                let _ = appender.sample(labels.as_encoded(), time, 0, 1.0);
                expect.insert(labels);
            }
            appender.commit().wait().unwrap();
            sorted_by_rank |= expect.len() > 300;
            check(&store, &expect);
            if life == 3 {
                continue;
            }
            if rng.chance(0.5) {
                let instance = format!("vm-0[{}-{}].*", rng.below(3), 3 + rng.below(2));
                let gone = Matcher::new(MatchOp::Regex, "instance", &instance).unwrap();
                store.delete(&[vec![gone.clone()]], i64::MIN, i64::MAX).unwrap();
                expect.retain(|labels| !gone.matches(labels.get("instance").unwrap_or("")));
                check(&store, &expect);
            }
            check_counts(&store, &expect);
        }
        if life == 2 {
            store.flush().unwrap();
            check(&store, &expect);
        }
    }
    assert!(sorted_by_rank && !expect.is_empty());
}

#[test]
fn a_part_of_many_series_is_in_order_before_and_after_all_are_ranked() {
    let f = open(|_| {});
    let all: BTreeSet<Labels> = (0..1_500).map(|i| up(&format!("job-{}", i * 7_919 % 1_500))).collect();
    let mut appender = f.store.appender(Origin::new("test"));
    for labels in all.iter().rev() {
        appender.sample(labels.as_encoded(), NOW, 0, 1.0).unwrap();
    }
    appender.commit().wait().unwrap();
    let part = [Matcher::new(MatchOp::Regex, "job", "job-1.*").unwrap()];
    let expect: Vec<Labels> = all.into_iter().filter(|labels| part[0].matches(labels.get("job").unwrap())).collect();
    assert!(expect.len() > 256 && expect.len() * 2 < 1_500);
    let ranked = || f.store.shared().order.is_ranked();
    assert_eq!(names_of(&f.store, &part), expect);
    assert!(!ranked(), "one selection of a part costs less than ranking all");
    for _ in 0..5 {
        assert_eq!(names_of(&f.store, &part), expect);
    }
    assert!(ranked());
}
