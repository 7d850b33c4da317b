//! Deletions reach every tier, kept results and lists of series, while samples are there and after they have gone.

use std::path::Path;
use std::time::Duration;

use super::tier::{EXACT, FIRST, HOURS, MINUTE, Raw, answers as evaluate, check, fill, open, tiers, work};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn settings(retention_days: i64) -> Config {
    Config { retention_ms: Some(retention_days * 86_400_000), tiers: tiers(), ..Config::default() }
}

fn of_job(job: &str) -> Vec<Vec<Matcher>> {
    vec![vec![Matcher::new(MatchOp::Equal, "job", job).unwrap()]]
}

/// Samples that windows of a minute count, by the end of the window.
fn counts(store: &Store, job: &str) -> Vec<(i64, f64)> {
    let cells = evaluate(store, &format!("count_over_time(up{{job=\"{job}\"}}[1m])"), MINUTE);
    cells.into_iter().flat_map(|(_, cells)| cells).map(|(time, values)| (time, values[0])).collect()
}

fn jobs(store: &Store) -> Vec<String> {
    store.label_values("job", &[], (i64::MIN, i64::MAX), 0).items
}

/// Two hours in, ten minutes that do not lie on the edges of windows.
const HOLE: (i64, i64) = (FIRST + 7_200_000 + 10_500, FIRST + 7_800_000 + 10_500);

#[test]
fn while_samples_are_there_every_tier_answers_as_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let now = FIRST + HOURS * 3_600_000;
    let (store, hand) = open(folder.path(), settings(30), now);
    for job in ["counter", "gauge", "histogram", "gone"] {
        fill(&store, job, &Rng::from_seed(9), 0..HOURS * 3_600);
    }
    store.flush().unwrap();
    work(&store, &hand, 40);
    store.delete(&of_job("counter"), HOLE.0, HOLE.1).unwrap();
    store.delete(&of_job("histogram"), HOLE.0, HOLE.1).unwrap();
    store.delete(&of_job("gone"), i64::MIN, i64::MAX).unwrap();
    let same = |store: &Store, when: &str| {
        for (range, step) in [("1m", MINUTE), ("10m", 5 * MINUTE)] {
            for query in EXACT {
                let query = query.replace("RANGE", range);
                let (tier, raw) = (evaluate(store, &query, step), evaluate(&Raw(store), &query, step));
                check(&format!("{when}: {query} by {step}"), &tier, &raw);
            }
        }
        let seen: f64 = counts(store, "counter").iter().map(|(_, count)| count).sum();
        let all: f64 = counts(store, "gauge").iter().map(|(_, count)| count).sum();
        assert_eq!(all - seen, 600.0, "{when}");
        assert_eq!(jobs(store), ["counter", "gauge", "histogram"], "{when}");
    };
    same(&store, "at once");
    drop(store);
    let (store, hand) = open(folder.path(), settings(30), now + 900_000);
    same(&store, "after a start");
    work(&store, &hand, 20);
    same(&store, "after maintenance");
    store.clean_tombstones().unwrap();
    assert_eq!(store.totals().tombstones, 0);
    same(&store, "after cleaning");
    work(&store, &hand, 20);
    same(&store, "with tiers made anew");
    drop(store);
    let (store, _) = open(folder.path(), settings(30), now + 1_800_000);
    same(&store, "after another start");
}

#[test]
fn when_samples_are_gone_every_window_of_a_deletion_goes() {
    let folder = tempfile::tempdir().unwrap();
    let now = FIRST + HOURS * 3_600_000;
    let (store, hand) = open(folder.path(), settings(1), now);
    for job in ["counter", "gauge", "gone"] {
        fill(&store, job, &Rng::from_seed(9), 0..HOURS * 3_600);
    }
    store.flush().unwrap();
    hand.advance(3 * DAY);
    work(&store, &hand, 60);
    let before = counts(&store, "counter");
    let token = store.changes().token();
    store.delete(&of_job("counter"), HOLE.0, HOLE.1).unwrap();
    store.delete(&of_job("gone"), i64::MIN, i64::MAX).unwrap();
    let widest = tiers().iter().map(|tier| tier.resolution_ms).max().unwrap();
    assert!(store.changes().since(token) <= HOLE.0 - widest, "kept results of the windows that go are not used");
    let same = |store: &Store, when: &str| {
        let (mint, maxt) = HOLE;
        let left = before.iter().filter(|(end, _)| *end <= mint || end - MINUTE > maxt).copied();
        assert_eq!(counts(store, "counter"), left.collect::<Vec<_>>(), "{when}");
        assert_eq!(counts(store, "gauge").len(), before.len(), "{when}");
        for width in [30_000, 5 * MINUTE] {
            let query = format!("count_over_time(up{{job=\"counter\"}}[{}s])", width / 1_000);
            let found = evaluate(store, &query, width);
            let inside = found.iter().flat_map(|(_, cells)| cells);
            let inside = inside.filter(|(end, _)| *end > mint && end - width < maxt).count();
            assert_eq!(inside, 0, "{when}: {query}");
        }
        assert_eq!(jobs(store), ["counter", "gauge"], "{when}");
    };
    same(&store, "at once");
    reopened(folder.path(), store, |store, hand| {
        same(store, "after a start");
        work(store, hand, 20);
        same(store, "after maintenance");
        store.clean_tombstones().unwrap();
        assert_eq!(store.totals().tombstones, 0);
        same(store, "after cleaning");
        work(store, hand, 20);
    });
    let (store, _) = open(folder.path(), settings(1), now + 4 * 86_400_000);
    same(&store, "after another start");
}

fn reopened(folder: &Path, store: Arc<Store>, then: impl FnOnce(&Arc<Store>, &SimClock)) {
    drop(store);
    let (store, hand) = open(folder, settings(1), FIRST + HOURS * 3_600_000 + 3 * 86_400_000);
    then(&store, &hand);
}
