//! Where series come from: counts by metric, label, pair, value of one label, and sender.

use hashbrown::HashMap;

use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::matcher::Matcher;

use super::matching::Plan;
use super::selection::Selection;
use super::stats::{TopEntry, largest};
use super::store::Store;
use super::symbols::Copied;
use super::usage::{Asked, Churn, Queried};

/// Which series are counted, and what is wanted of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// All series where there is no set.
    pub sets: Vec<Vec<Matcher>>,
    /// Series with samples in this range, in memory or blocks; those in memory where there is none.
    pub range: Option<(i64, i64)>,
    /// A label whose values are counted.
    pub focus: Option<String>,
    /// Entries of each list.
    pub top: usize,
}

/// Counts of series; the lists have the largest entries first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    pub series: u64,
    pub label_pairs: u64,
    pub by_metric: Vec<TopEntry>,
    pub by_label: Vec<TopEntry>,
    pub by_focus: Vec<TopEntry>,
    /// Names are `label=value`.
    pub by_pair: Vec<TopEntry>,
    pub values_by_label: Vec<TopEntry>,
    /// Bytes of the values of a label, one for each series that has it.
    pub bytes_by_label: Vec<TopEntry>,
    pub by_sender: Vec<Sender>,
    /// The walk was stopped before its end.
    pub stopped: bool,
}

/// Series of one target or application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub job: String,
    pub instance: String,
    pub series: u64,
}

#[derive(Default)]
struct Counts {
    series: u64,
    /// By label: its values with their series.
    labels: HashMap<String, HashMap<String, u64>>,
    senders: HashMap<(String, String), u64>,
}

impl Counts {
    fn add(&mut self, labels: &Labels) {
        self.series += 1;
        let (mut job, mut instance) = ("", "");
        for (name, value) in labels.iter() {
            *self.labels.entry_ref(name).or_default().entry_ref(value).or_default() += 1;
            match name {
                "job" => job = value,
                "instance" => instance = value,
                _ => {}
            }
        }
        *self.senders.entry((job.to_owned(), instance.to_owned())).or_default() += 1;
    }

    fn finish(self, focus: Option<&str>, top: usize) -> Cardinality {
        let Self { series, labels, senders } = self;
        let sums = |of: &dyn Fn(&str, u64) -> u64| {
            let sum =
                |values: &HashMap<String, u64>| values.iter().map(|(value, count)| of(value, *count)).sum::<u64>();
            labels.iter().map(|(name, values)| (name.clone(), sum(values))).collect::<HashMap<_, _>>()
        };
        let of = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let pair = |(name, values): (&String, &HashMap<String, u64>)| {
            values.iter().map(|(value, count)| (format!("{name}={value}"), *count)).collect::<Vec<_>>()
        };
        let mut senders: Vec<Sender> =
            senders.into_iter().map(|((job, instance), series)| Sender { job, instance, series }).collect();
        senders.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| (&a.job, &a.instance).cmp(&(&b.job, &b.instance))));
        senders.truncate(top);
        Cardinality {
            series,
            label_pairs: labels.values().map(|values| values.len() as u64).sum(),
            by_metric: largest(of(METRIC_NAME), top),
            by_label: largest(sums(&|_, count| count), top),
            by_focus: focus.map(|focus| largest(of(focus), top)).unwrap_or_default(),
            by_pair: largest(labels.iter().flat_map(pair).collect(), top),
            values_by_label: largest(sums(&|_, _| 1), top),
            bytes_by_label: largest(sums(&|value, count| value.len() as u64 * count), top),
            by_sender: senders,
            stopped: false,
        }
    }
}

/// Series between two looks at whether to stop.
const STRIDE: usize = 4096;

impl Store {
    /// Counts series. Takes about two microseconds for each; `stop` is asked now and then.
    pub fn cardinality(&self, wanted: &Wanted, stop: &dyn Fn() -> bool) -> Cardinality {
        let mut counts = Counts::default();
        let everything = [Vec::new()];
        let sets = if wanted.sets.is_empty() { &everything[..] } else { &wanted.sets[..] };
        let mut stopped = false;
        for (number, set) in sets.iter().enumerate() {
            let seen = |labels: &Labels| sets[..number].iter().any(|set| fulfils(labels, set));
            let mut at = 0;
            self.each_labels(set, wanted.range, &mut |labels| {
                at += 1;
                stopped = stopped || (at % STRIDE == 0 && stop());
                if !stopped && !seen(labels) {
                    counts.add(labels);
                }
                !stopped
            });
        }
        Cardinality { stopped, ..counts.finish(wanted.focus.as_deref(), wanted.top) }
    }

    fn each_labels(&self, set: &[Matcher], range: Option<(i64, i64)>, visit: &mut dyn FnMut(&Labels) -> bool) {
        if let Some((mint, maxt)) = range {
            let selection = Selection::new(self.shared(), set, mint, maxt);
            selection.iter_labels().all(visit);
            return;
        }
        let plans: Vec<Plan<'_>> = set.iter().map(Plan::new).collect();
        let mut buffer = Vec::new();
        for shard in &self.shared().shards {
            // Counting takes longer than an appender should wait: only the labels are taken under the lock.
            let copied = {
                let shard = shard.lock();
                let slots = shard.matching(&plans, i64::MIN, i64::MAX);
                let series = slots.iter().filter_map(|slot| shard.by_slot(slot));
                Copied::of(shard.symbols(), series.map(|series| &series.labels))
            };
            if !(0..copied.len()).all(|number| visit(&copied.encoded(number).into_labels(&mut buffer))) {
                return;
            }
        }
    }

    /// Series that came and went, with the metrics that made most of them.
    pub fn churn(&self, top: usize) -> Churn {
        self.shared().turnover.churn(self.shared().seams.clock.now(), top)
    }

    /// How often a metric was queried since the start, and when last; `None` where it never was.
    pub fn queried(&self, metric: &str) -> Option<Queried> {
        self.shared().asked.of(metric)
    }

    /// Metrics whose queries are remembered, and those that were forgotten to make room.
    pub fn queried_counts(&self) -> (usize, u64) {
        self.shared().asked.counts()
    }

    /// Notes that a query reads these series.
    pub(super) fn note_query(&self, matchers: &[Matcher], selection: &Selection) {
        let now = self.shared().seams.clock.now();
        match Asked::only_name(matchers) {
            Some(_) if !selection.iter_labels().any(|_| true) => {}
            Some(name) => self.shared().asked.note(std::iter::once(name), now),
            None => {
                // Series ascend by labels, but the name need not come first: repeats are few, not none.
                let mut names: Vec<&str> = selection.iter_labels().map(Labels::metric_name).collect();
                names.dedup();
                names.sort_unstable();
                names.dedup();
                self.shared().asked.note(names.into_iter().filter(|name| !name.is_empty()), now);
            }
        }
    }
}

fn fulfils(labels: &Labels, set: &[Matcher]) -> bool {
    set.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}
