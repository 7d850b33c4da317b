//! Families of our own into the store, as a scrape of them would have put them there.
//!
//! One [`Feed`] is one target: it gives every series its `job` and `instance`, adds `up` and `scrape_…`, and writes a
//! staleness marker for a series that the target has no more.

use std::time::Duration;

use hashbrown::HashMap;

use crate::metrics::{Appender, Commit, Origin, Store};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::metadata::{Metadata, MetricType};
use crate::model::sample::STALE_NAN;
use crate::telemetry::snapshot::{Family, Kind, each_series};

/// A target inside this process.
#[derive(Debug)]
pub struct Feed {
    job: &'static str,
    instance: String,
    /// The series of the last round, by their encoded labels, and the round in which each was seen last.
    seen: HashMap<Vec<u8>, u64>,
    round: u64,
}

impl Feed {
    pub fn new(job: &'static str, instance: String) -> Self {
        Self { job, instance, seen: HashMap::new(), round: 0 }
    }

    /// Appends one gathering that took `took`. A refused series is left out: the store counts why.
    pub fn append(&mut self, store: &Store, families: &[Family], time: i64, took: Duration) -> Commit {
        self.round += 1;
        let mut appender = store.appender(Origin::new("self"));
        let mut samples = 0_u32;
        for family in families {
            if self.round == 1 {
                appender.metadata(&family.name, &metadata(family));
            }
            each_series(family, |name, labels, extra, value| {
                let labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).chain(extra);
                self.put(&mut appender, name, labels, (time, value));
                samples += 1;
            });
        }
        for (name, value) in [
            ("up", 1.0),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", f64::from(samples)),
        ] {
            self.put(&mut appender, name, std::iter::empty(), (time, value));
        }
        let round = self.round;
        for (encoded, _) in self.seen.extract_if(|_, seen| *seen != round) {
            let _ = appender.sample(&encoded, time, 0, STALE_NAN);
        }
        appender.commit()
    }

    fn put<'a>(
        &mut self,
        appender: &mut Appender<'_>,
        name: &str,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        (time, value): (i64, f64),
    ) {
        let mut builder = LabelsBuilder::default();
        builder.set(METRIC_NAME, name).set("job", self.job).set("instance", &self.instance);
        for (name, value) in labels {
            builder.set(name, value);
        }
        let labels = builder.build();
        let encoded = labels.as_encoded();
        let _ = appender.sample(encoded, time, 0, value);
        match self.seen.get_mut(encoded) {
            Some(round) => *round = self.round,
            None => {
                self.seen.insert(encoded.to_vec(), self.round);
            }
        }
    }
}

fn metadata(family: &Family) -> Metadata {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Untyped => MetricType::Unknown,
    };
    Metadata { kind, unit: String::new(), help: family.help.clone().into_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::disk::Disk;
    use crate::base::rng::Rng;
    use crate::base::tasks::Tasks;
    use crate::metrics::Seams;
    use crate::metrics::config::{Config, Durability};
    use crate::model::matcher::{MatchOp, Matcher};
    use crate::model::sample::is_stale;
    use crate::promql::source::{Column, SeriesSet as _};

    fn store(folder: &std::path::Path) -> Arc<Store> {
        let config = Config { durability: Durability::Memory, retention_ms: None, ..Config::default() };
        let seams = Seams {
            clock: Clock::simulated(10_000).0,
            disk: Disk::real(),
            rng: Rng::from_seed(1),
            tasks: Tasks::default(),
        };
        Store::open(config, folder, seams).unwrap()
    }

    fn column(store: &Store, matcher: (&str, &str)) -> Column {
        let matcher = Matcher::new(MatchOp::Equal, matcher.0, matcher.1).unwrap();
        let found = store.select(&[matcher], i64::MIN, i64::MAX);
        let mut column = Column::default();
        assert_eq!(found.len(), 1);
        found.read(0, &mut column).unwrap();
        column
    }

    #[test]
    fn a_series_that_is_gone_gets_a_staleness_marker_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut feed = Feed::new("node", "host-1".to_owned());
        let mut family = Family::new("link_up", "Test.", Kind::Gauge);
        family.push(&[("device", "eth0")], 1.0);
        let commit = |feed: &mut Feed, families: &[Family], time| {
            feed.append(&store, families, time, Duration::from_millis(2)).wait().unwrap()
        };
        commit(&mut feed, &[family], 1_000);
        commit(&mut feed, &[], 2_000);
        commit(&mut feed, &[], 3_000);
        let gone = column(&store, ("device", "eth0"));
        assert_eq!(gone.times, [1_000, 2_000]);
        assert!(gone.values[0] == 1.0 && is_stale(gone.values[1]));
        assert_eq!(column(&store, ("__name__", "up")).times, [1_000, 2_000, 3_000]);
        assert_eq!(column(&store, ("__name__", "scrape_samples_scraped")).values, [1.0, 0.0, 0.0]);
    }
}
