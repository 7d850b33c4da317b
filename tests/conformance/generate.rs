//! Random samples and queries, the same for the same seed.

use std::sync::Arc;

use novascope::model::histogram::{Histogram, ResetHint, Span};
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
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
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
        for at in 0..ticks {
            if dice.once_in(12) {
                continue;
            }
            let time = at * tick + if jitters { dice.below(tick as u64 / 500) as i64 * 250 } else { 0 };
            value = match name {
                "a_total" if dice.once_in(40) => {
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
            let start =
                if kinds.exotic && started && name == "a_total" && dice.once_in(4) { time - tick / 2 } else { 0 };
            store.float(&labels, time, start, special);
        }
    }
    classic(dice, &mut store, (ticks, tick), kinds.exotic);
    if kinds.exotic {
        native(dice, &mut store, ticks, tick);
    }
    store
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
                store.histogram(&labels, at * tick, Arc::new(histogram));
            }
        }
    }
}

/// Writes queries that are sound, whatever they mean.
pub(crate) struct Writer<'a> {
    pub(crate) dice: &'a mut Dice,
    /// Milliseconds between samples.
    pub(crate) tick: i64,
    /// Also what older servers do not know.
    pub(crate) newest: bool,
    /// Milliseconds by which `@` lies beside a multiple of a tick.
    pub(crate) phase: i64,
}

impl Writer<'_> {
    /// An instant vector.
    pub(crate) fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.dice.below(10) {
            0 => self.selector(),
            1..=3 => self.over_range(depth),
            4 | 5 => self.aggregation(depth),
            6 | 7 => self.binary(depth),
            _ => self.function(depth),
        }
    }

    fn millis(&self, ticks: i64) -> String {
        format!("{}ms", self.tick * ticks)
    }

    fn series(&mut self) -> String {
        let names = ["a_total", "b", "c", "b{g=\"x\"}", "a_total{i!=\"2\"}", "{__name__=~\"b|c\",i=\"1\"}", "h"];
        let limit = if self.newest { names.len() } else { names.len() - 1 };
        self.dice.pick(&names[..limit]).to_owned()
    }

    fn modifiers(&mut self) -> String {
        let ticks = self.dice.below(8) as i64;
        match self.dice.below(8) {
            0 => format!(" offset {}", self.millis(ticks + 1)),
            1 => format!(" @ {}", (self.tick * (ticks * 5 + 20) + self.phase) as f64 / 1000.0),
            _ => String::new(),
        }
    }

    fn selector(&mut self) -> String {
        format!("{}{}", self.series(), self.modifiers())
    }

    fn over_range(&mut self, depth: u32) -> String {
        let functions = [
            "rate",
            "increase",
            "delta",
            "irate",
            "idelta",
            "sum_over_time",
            "avg_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "last_over_time",
            "present_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "changes",
            "resets",
            "deriv",
            "quantile_over_time",
            "predict_linear",
            "absent_over_time",
            "mad_over_time",
            "first_over_time",
            "ts_of_max_over_time",
        ];
        let function = self.dice.pick(&functions[..if self.newest { functions.len() } else { 20 }]);
        // Older servers extrapolate otherwise near 0, where only counters of their own kind never are.
        let counter = !self.newest && matches!(function, "rate" | "increase");
        let width = [2, 5, 17, 60][self.dice.below(4) as usize];
        let range = if counter {
            format!("a_total[{}]{}", self.millis(width), self.modifiers())
        } else if self.dice.once_in(4) {
            let (width, step) = (self.millis(width), 1 + self.dice.below(3) as i64);
            format!("({})[{width}:{}]{}", self.vector(depth - 1), self.millis(step), self.modifiers())
        } else {
            format!("{}[{}]{}", self.series(), self.millis(width), self.modifiers())
        };
        match function {
            "quantile_over_time" => format!("quantile_over_time(0.{}, {range})", self.dice.below(10)),
            "predict_linear" => format!("predict_linear({range}, {})", self.dice.below(1000)),
            _ => format!("{function}({range})"),
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        let by = self.dice.pick(&["", " by (g)", " by (i)", " without (i)", " by (g, i)"]);
        match self.dice.below(12) {
            0 => format!("quantile{by} (0.{}, {inner})", self.dice.below(10)),
            1 => format!("count_values{by} (\"v\", round({inner}, 50))"),
            2 => format!("topk{by} (2, {inner})"),
            3 => format!("bottomk{by} (1, {inner})"),
            _ => {
                let op = self.dice.pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
                format!("{op}{by} ({inner})")
            }
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let arithmetic = self.dice.pick(&["+", "-", "*", "/", "%", "^", "atan2", "==", ">", "<= bool", "!= bool"]);
        let left = self.vector(depth - 1);
        match self.dice.below(6) {
            0 => format!("({left} {arithmetic} {})", self.scalar()),
            1 => format!("({} {arithmetic} {left})", self.scalar()),
            2 => {
                let set = self.dice.pick(&["and", "or", "unless"]);
                let on = self.dice.pick(&["", "on (i) ", "ignoring (g) "]);
                format!("({left} {set} {on}{})", self.vector(depth - 1))
            }
            3 => format!("(b {arithmetic} on (i, g) group_left () c)"),
            _ => {
                let on = self.dice.pick(&["on (i)", "on (i, g)", "ignoring (g)"]);
                let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
                format!("(max by (i, g) ({left}) {arithmetic} {on} sum by (i, g) ({right}))")
            }
        }
    }

    fn scalar(&mut self) -> String {
        match self.dice.below(5) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.selector()),
            2 => "-0.5".to_owned(),
            _ => self.dice.below(20).to_string(),
        }
    }

    fn function(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        match self.dice.below(9) {
            0 => format!("-({inner})"),
            1 => format!("clamp({inner}, 2, {})", self.scalar()),
            2 => format!("round({inner}, 0.25)"),
            3 => format!("histogram_quantile(0.{}, rate(l_bucket[{}]))", self.dice.below(10), self.millis(9)),
            4 => format!("label_replace({inner}, \"z\", \"$1-\", \"i\", \"(.)\")"),
            5 => format!("timestamp({inner})"),
            6 => format!("absent({inner})"),
            7 => format!("vector(scalar({inner}))"),
            _ => {
                let name = self.dice.pick(&["abs", "ceil", "sgn", "exp", "hour", "day_of_week", "sqrt"]);
                format!("{name}({inner})")
            }
        }
    }
}
