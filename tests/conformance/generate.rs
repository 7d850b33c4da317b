//! Random samples, the same for the same seed.

use std::sync::Arc;

use novascope::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use novascope::model::labels::Labels;
use novascope::model::sample::STALE_NAN;

use crate::store::Store;

/// A generator of numbers (xorshift); good enough to choose by.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What samples may hold.
#[derive(Clone, Copy)]
pub(crate) struct Kinds {
    /// NaN, infinities and staleness markers among the floats, native histograms, start timestamps.
    pub(crate) exotic: bool,
}

/// Counters with resets, gauges, classic and native histograms, with gaps, about one sample a tick.
pub(crate) fn samples(dice: &mut Dice, ticks: i64, tick: i64, kinds: Kinds) -> Store {
    let mut store = Store::default();
    for (name, group, index) in
        ["a_total", "b", "c"].iter().flat_map(|name| (0..4).map(move |index| (*name, ["x", "y"][index % 2], index)))
    {
        let number = index.to_string();
        let labels = Labels::from_pairs([("__name__", name), ("g", group), ("i", &*number)]);
        // Without what is exotic, counters stay far from 0: servers differ in how they extrapolate there.
        let floor = if kinds.exotic { 0.0 } else { 1e5 };
        let mut value = dice.below(100) as f64 + if name == "a_total" { floor * 2.0 } else { 0.0 };
        let (jitters, started) = (dice.once_in(3), dice.once_in(3));
        // Counters whose starts are known, each from its reset on; and some whose samples say so now and then only.
        let mut began = if kinds.exotic && name == "a_total" && dice.once_in(2) { 1 } else { i64::MIN };
        for at in 0..ticks {
            if dice.once_in(12) {
                continue;
            }
            let time = at * tick + if jitters { dice.below(tick as u64 / 500) as i64 * 250 } else { 0 };
            value = match name {
                "a_total" if dice.once_in(40) => {
                    began = if began > i64::MIN { time - tick / 4 } else { began };
                    (value / 2.0).floor().max(floor).min(value) * f64::from(u8::from(floor > 0.0))
                        + dice.below(5) as f64
                }
                "a_total" => value + dice.below(20) as f64,
                "b" => dice.below(2000) as f64 / 16.0 - 40.0,
                _ => (dice.below(4) * 5) as f64,
            };
            let special = match dice.below(80) {
                0 if kinds.exotic => f64::NAN,
                1 if kinds.exotic && name == "b" => f64::INFINITY,
                2 if kinds.exotic => STALE_NAN,
                _ => value,
            };
            let start = match began {
                i64::MIN if kinds.exotic && started && name == "a_total" && dice.once_in(4) => time - tick / 2,
                i64::MIN => 0,
                began => began,
            };
            store.float(&labels, time, start, special);
        }
    }
    classic(dice, &mut store, (ticks, tick), kinds.exotic);
    if kinds.exotic {
        native(dice, &mut store, ticks, tick);
        custom(dice, &mut store, ticks, tick);
        info(dice, &mut store, ticks, tick);
        changing(dice, &mut store, ticks, tick);
        started(dice, &mut store, ticks, tick);
        named_in_utf8(dice, &mut store, ticks, tick);
    }
    store
}

/// Series that are floats for a while and histograms for another, and histograms whose layout changes.
fn changing(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    let bounds: [Arc<[f64]>; 2] = [Arc::from([0.1, 0.5, 1.0, 5.0]), Arc::from([0.1, 1.0, 5.0, 9.0])];
    for index in ["0", "1", "2"] {
        let [mixed, zeros, custom, classic] = ["m", "hz", "nc", "l_bucket"]
            .map(|name| Labels::from_pairs([("__name__", name), ("g", "x"), ("i", index)]));
        let (mut counts, mut is_float, mut schema, mut threshold, mut layout) = ([0.0; 8], true, 1, 0.001, 0);
        let mut began = 0;
        for at in 0..ticks {
            let time = at * tick;
            if dice.once_in(60) {
                counts.fill(0.0);
                began = time - tick / 2;
            }
            is_float ^= dice.once_in(9);
            schema = if dice.once_in(40) { dice.below(4) as i8 - 1 } else { schema };
            threshold = if dice.once_in(40) { [0.001, 0.01, 0.3][dice.below(3) as usize] } else { threshold };
            layout ^= usize::from(dice.once_in(30));
            counts.iter_mut().for_each(|count| *count += dice.below(4) as f64);
            let count: f64 = counts.iter().sum();
            let exponential = Histogram {
                schema,
                zero_threshold: threshold,
                zero_count: counts[0],
                count,
                sum: count * 0.5,
                positive_spans: vec![Span { offset: 0, length: 3 }, Span { offset: 2, length: 1 }],
                positive_buckets: counts[1..5].to_vec(),
                negative_spans: vec![Span { offset: 1, length: 3 }],
                negative_buckets: counts[5..].to_vec(),
                ..Histogram::default()
            };
            let own: f64 = counts[..5].iter().sum();
            let with_bounds = Histogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                count: own,
                sum: own * 0.75,
                positive_spans: vec![Span { offset: 0, length: 5 }],
                positive_buckets: counts[..5].to_vec(),
                custom_values: bounds[layout].clone(),
                ..Histogram::default()
            };
            let [exponential, with_bounds] = [exponential, with_bounds].map(Arc::new);
            if is_float {
                store.float(&mixed, time, 0, counts[1]);
            } else {
                store.histogram(&mixed, time, 0, exponential.clone());
            }
            if index == "2" {
                // Beside the classic ones of the same name.
                store.histogram(&classic, time, 0, with_bounds.clone());
            }
            if !dice.once_in(12) {
                store.histogram(&zeros, time, if index == "1" { began } else { 0 }, exponential);
                store.histogram(&custom, time, 0, with_bounds);
            }
        }
    }
}

/// Histograms whose starts are known: always, now and then, or never. No bucket is empty: those that others of a chunk have
/// are counted by Prometheus.
fn started(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    for index in ["0", "1", "2"] {
        let labels = Labels::from_pairs([("__name__", "ah"), ("g", "x"), ("i", index)]);
        let (mut counts, mut schema, mut began) = ([1.0; 6], 1, 1);
        for at in 0..ticks {
            let time = at * tick;
            if dice.once_in(40) {
                counts.fill(1.0);
                began = time - dice.below(tick as u64) as i64;
            }
            schema = if dice.once_in(60) { dice.below(4) as i8 - 1 } else { schema };
            counts.iter_mut().for_each(|count| *count += dice.below(4) as f64);
            let count: f64 = counts.iter().sum();
            let histogram = Histogram {
                schema,
                zero_threshold: 1e-128,
                count,
                sum: count * 0.25,
                positive_spans: vec![Span { offset: -1, length: 4 }],
                positive_buckets: counts[..4].to_vec(),
                negative_spans: vec![Span { offset: 1, length: 2 }],
                negative_buckets: counts[4..].to_vec(),
                ..Histogram::default()
            };
            let tells = index == "0" || index == "1" && dice.once_in(3);
            if !dice.once_in(12) {
                store.histogram(&labels, time, if tells { began } else { 0 }, Arc::new(histogram));
            }
        }
    }
}

fn named_in_utf8(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    for index in ["0", "1"] {
        let pairs =
            [("__name__", "gr\u{f6}\u{df}e.m"), ("i", index), ("l\u{e4}.bel", ["x y", "z"][usize::from(index == "1")])];
        let labels = Labels::from_pairs(pairs);
        (0..ticks).filter(|_| !dice.once_in(12)).collect::<Vec<_>>().into_iter().for_each(|at| {
            store.float(&labels, at * tick, 0, dice.below(500) as f64 / 8.0);
        });
    }
}

fn classic(dice: &mut Dice, store: &mut Store, (ticks, tick): (i64, i64), exotic: bool) {
    let bounds = ["0.1", "0.5", "1", "5", "+Inf"];
    for index in ["0", "1"] {
        let mut counts = if exotic { [0.0; 5] } else { [1e5, 2e5, 3e5, 4e5, 5e5] };
        for at in 0..ticks {
            let reset = exotic && dice.once_in(60);
            for (bound, (slot, count)) in bounds.iter().zip(counts.iter_mut().enumerate()) {
                *count = if reset { 0.0 } else { *count + (slot as u64 * 3 + dice.below(3)) as f64 };
                let labels = Labels::from_pairs([("__name__", "l_bucket"), ("i", index), ("le", bound)]);
                store.float(&labels, at * tick, 0, *count);
            }
        }
    }
}

fn native(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    for index in ["0", "1", "2"] {
        let labels = Labels::from_pairs([("__name__", "h"), ("i", index)]);
        let schema = dice.below(3) as i8 - 1;
        let mut counts = vec![0.0; 6];
        for at in 0..ticks {
            if dice.once_in(50) {
                counts.fill(0.0);
            }
            counts.iter_mut().for_each(|count| *count += dice.below(4) as f64);
            let count: f64 = counts.iter().sum();
            let histogram = Histogram {
                schema,
                count,
                sum: count * 1.5,
                positive_spans: vec![Span { offset: -2, length: 6 }],
                positive_buckets: counts.clone(),
                reset_hint: ResetHint::Unknown,
                ..Histogram::default()
            };
            if !dice.once_in(10) {
                store.histogram(&labels, at * tick, 0, Arc::new(histogram));
            }
        }
    }
}

/// Histograms with custom buckets, of two layouts, and gauges whose counts also fall.
fn custom(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    let layouts: [Arc<[f64]>; 2] = [Arc::from([0.1, 0.5, 1.0, 5.0]), Arc::from([0.5, 1.0, 2.0])];
    for index in ["0", "1", "2"] {
        let labels = Labels::from_pairs([("__name__", "n"), ("g", "x"), ("i", index)]);
        let gauge = Labels::from_pairs([("__name__", "hg"), ("g", "y"), ("i", index)]);
        let layout = &layouts[usize::from(index == "2")];
        let mut counts = vec![0.0; layout.len() + 1];
        for at in 0..ticks {
            if dice.once_in(50) {
                counts.fill(0.0);
            }
            counts.iter_mut().for_each(|count| *count += dice.below(4) as f64);
            let count: f64 = counts.iter().sum();
            let histogram = Histogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                count,
                sum: count * 0.75,
                positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
                positive_buckets: counts.clone(),
                custom_values: layout.clone(),
                ..Histogram::default()
            };
            if !dice.once_in(10) {
                store.histogram(&labels, at * tick, 0, Arc::new(histogram));
            }
            let (below, zero, above) = (dice.below(5) as f64, dice.below(3) as f64, dice.below(6) as f64);
            let histogram = Histogram {
                reset_hint: ResetHint::Gauge,
                schema: 1,
                zero_threshold: 0.01,
                zero_count: zero,
                count: below + zero + above * 2.0,
                sum: above * 4.0 - below,
                positive_spans: vec![Span { offset: 1, length: 1 }, Span { offset: 2, length: 1 }],
                positive_buckets: vec![above, above],
                negative_spans: vec![Span { offset: 0, length: 1 }],
                negative_buckets: vec![below],
                ..Histogram::default()
            };
            if !dice.once_in(10) {
                store.histogram(&gauge, at * tick, 0, Arc::new(histogram));
            }
        }
    }
}

/// What `info()` joins: the version of each instance, which changes once.
fn info(dice: &mut Dice, store: &mut Store, ticks: i64, tick: i64) {
    for index in ["0", "1"] {
        let change = dice.below(ticks as u64) as i64;
        for (version, span) in [("1", 0..change), ("2", change..ticks)] {
            let pairs = [("__name__", "target_info"), ("instance", index), ("job", "j"), ("version", version)];
            let labels = Labels::from_pairs(pairs);
            span.for_each(|at| store.float(&labels, at * tick, 0, 1.0));
        }
        let pairs = [("__name__", "build_info"), ("instance", index), ("job", "j"), ("os", "linux"), ("version", "b")];
        let labels = Labels::from_pairs(pairs);
        (0..ticks).for_each(|at| store.float(&labels, at * tick, 0, 1.0));
        let labels = Labels::from_pairs([("__name__", "w_total"), ("instance", index), ("job", "j")]);
        let mut value = 0.0;
        for at in 0..ticks {
            value += dice.below(9) as f64;
            store.float(&labels, at * tick, 0, value);
        }
    }
}
