//! Random queries, the same for the same seed.

use crate::generate::Dice;

/// Functions of range vectors, those that older servers know first.
const OVER_RANGES: [&str; 27] = [
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
    "ts_of_min_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "double_exponential_smoothing",
];
const OLDER_OVER_RANGES: usize = 20;

/// Functions of one vector that are asked of new servers only, to leave the queries of older ones as they are.
const NEWER_FUNCTIONS: [&str; 21] = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "log10",
    "log2",
    "minute",
    "rad",
    "sinh",
    "tan",
    "tanh",
    "year",
    "sqrt",
    "exp",
];

/// Writes queries that are sound, whatever they mean.
pub(crate) struct Writer<'a> {
    pub(crate) dice: &'a mut Dice,
    /// Milliseconds between samples.
    pub(crate) tick: i64,
    /// Also what older servers do not know.
    pub(crate) newest: bool,
    /// Also what depends on the range and step of the whole query.
    pub(crate) window: bool,
    /// Milliseconds by which `@` lies beside a multiple of a tick.
    pub(crate) phase: i64,
}

impl Writer<'_> {
    /// An instant vector.
    pub(crate) fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.dice.below(11) {
            0 => self.selector(),
            1..=3 => self.over_range(depth),
            4 | 5 => self.aggregation(depth),
            6 | 7 => self.binary(depth),
            8 if self.newest => self.histogram_function(depth),
            _ => self.function(depth),
        }
    }

    fn millis(&mut self, ticks: i64) -> String {
        let millis = self.tick * ticks;
        if !self.newest {
            return format!("{millis}ms");
        }
        let half = millis / 2;
        match self.dice.below(24) {
            0 => format!("{}", millis as f64 / 1000.0),
            1 => format!("({}ms * {ticks})", self.tick),
            2 if self.window => format!("max_of({millis}ms, step())"),
            3 if self.window => format!("step() + {millis}ms"),
            4 if self.window => format!("min_of({millis}ms, range() + {}ms)", self.tick),
            5 if self.window => format!("max_of(step() * 3 - {half}ms, {}ms)", self.tick),
            6 => format!("({}ms - {half}ms)", millis + half),
            7 => format!("({}ms / 3)", millis * 3),
            8 => format!("(max_of({half}ms, -{half}ms ^ 1) * 2)"),
            9 => format!("({}ms % {}ms + {millis}ms)", millis * 7, millis * 5),
            _ => format!("{millis}ms"),
        }
    }

    fn series(&mut self) -> String {
        let names = [
            "a_total",
            "b",
            "c",
            "b{g=\"x\"}",
            "a_total{i!=\"2\"}",
            "{__name__=~\"b|c\",i=\"1\"}",
            "c{g!~\"x|z\"}",
            "h",
            "n",
            "hg",
            "{__name__=~\"n|c\",i=~\"0|1\"}",
            "{__name__=~\"h|hg\",i!=\"1\"}",
            "{\"b\", 'i'=`3`}",
            "m",
            "hz",
            "nc",
            "{\"gr\u{f6}\u{df}e.m\"}",
            "{\"gr\u{f6}\u{df}e.m\", \"l\u{e4}.bel\"=~\"x.*\"}",
            "{__name__=~\"m|hz|b\"}",
            "{i=\"1\",g!=\"\"}",
            "l_bucket",
            "ah",
            "{__name__=~\"ah|a_total\",i!=\"2\"}",
            "absent_metric",
        ];
        let limit = if self.newest { names.len() } else { 7 };
        self.dice.pick(&names[..limit]).to_owned()
    }

    fn modifiers(&mut self) -> String {
        let ticks = self.dice.below(8) as i64;
        let at = (self.tick * (ticks * 5 + 20) + self.phase) as f64 / 1000.0;
        match self.dice.below(15) {
            0 | 1 => format!(" offset {}", self.millis(ticks + 1)),
            2 => format!(" offset -{}ms", self.tick * (ticks + 1)),
            7 if self.newest => format!(" offset -({}) @ {at}", self.millis(ticks + 1)),
            3 | 4 => format!(" @ {at}"),
            5 => format!(" @ {at} offset {}ms", self.tick * ticks),
            6 if self.window => format!(" @ {}()", self.dice.pick(&["start", "end"])),
            _ => String::new(),
        }
    }

    fn selector(&mut self) -> String {
        let smoothed = if self.newest && self.dice.once_in(12) { " smoothed" } else { "" };
        format!("{}{smoothed}{}", self.series(), self.modifiers())
    }

    fn over_range(&mut self, depth: u32) -> String {
        let known = if self.newest { OVER_RANGES.len() } else { OLDER_OVER_RANGES };
        let function = self.dice.pick(&OVER_RANGES[..known]);
        // Older servers extrapolate otherwise near 0, where only counters of their own kind never are.
        let counter = !self.newest && matches!(function, "rate" | "increase");
        let width = [2, 5, 17, 60][self.dice.below(4) as usize];
        let range = if counter {
            format!("a_total[{}]{}", self.millis(width), self.modifiers())
        } else if self.dice.once_in(4) {
            let (width, step) = (self.millis(width), 1 + self.dice.below(3) as i64);
            let step = self.millis(step);
            let step = if self.dice.once_in(5) { "" } else { &step };
            format!("({})[{width}:{step}]{}", self.vector(depth - 1), self.modifiers())
        } else {
            let edges = match function {
                "rate" | "increase" | "delta" => self.dice.pick(&["", "", " anchored", " smoothed"]),
                "changes" | "resets" => self.dice.pick(&["", "", " anchored"]),
                _ => "",
            };
            let edges = if self.newest { edges } else { "" };
            format!("{}[{}]{edges}{}", self.series(), self.millis(width), self.modifiers())
        };
        match function {
            "quantile_over_time" => format!("quantile_over_time({}, {range})", self.quantile()),
            "predict_linear" if self.newest && self.dice.once_in(3) => {
                format!("predict_linear({range}, {})", self.scalar())
            }
            "predict_linear" => format!("predict_linear({range}, {})", self.dice.below(1000)),
            "double_exponential_smoothing" => format!("{function}({range}, 0.3, 0.{})", 1 + self.dice.below(9)),
            _ => format!("{function}({range})"),
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        let groups = [
            "",
            " by (g)",
            " by (i)",
            " without (i)",
            " by (g, i)",
            " by (__name__)",
            " by ()",
            " without ()",
            " without (__name__)",
            " by (\"l\u{e4}.bel\", g)",
        ];
        let by = self.dice.pick(&groups[..if self.newest { groups.len() } else { 6 }]);
        match self.dice.below(16) {
            0 => format!("quantile{by} ({}, {inner})", self.quantile()),
            1 => format!("count_values{by} (\"v\", round({inner}, 50))"),
            14 if self.newest => format!("count_values{by} (\"g\", {inner})"),
            15 if self.newest => format!("topk{by} ({}, {inner})", self.scalar()),
            2 => format!("topk{by} (2, {inner})"),
            3 => format!("bottomk{by} (1, {inner})"),
            // Which series come first is chance behind most nodes of Prometheus.
            4 if self.newest => format!("limitk{by} ({}, {})", self.dice.below(4), self.selector()),
            5 if self.newest => {
                format!("limit_ratio{by} ({}0.{}, {inner})", self.dice.pick(&["", "-"]), self.dice.below(10))
            }
            _ => {
                let op = self.dice.pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
                format!("{op}{by} ({inner})")
            }
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let operators =
            ["+", "-", "*", "/", "%", "^", "atan2", "==", ">", "<= bool", "!= bool", "< bool", "!=", "</", ">/"];
        let arithmetic = self.dice.pick(&operators[..if self.newest { operators.len() } else { 13 }]);
        let left = self.vector(depth - 1);
        match self.dice.below(8) {
            0 => format!("({left} {arithmetic} {})", self.scalar()),
            1 => format!("({} {arithmetic} {left})", self.scalar()),
            2 => {
                let set = self.dice.pick(&["and", "or", "unless"]);
                let on = self.dice.pick(&["", "on (i) ", "ignoring (g) ", "on () ", "ignoring (g, i) ", "on (i, g) "]);
                format!("({left} {set} {on}{})", self.vector(depth - 1))
            }
            3 => {
                let side = self.dice.pick(&["group_left ()", "group_left", "group_right"]);
                let fill = self.fill();
                format!("(b {arithmetic} on (i, g) {side}{fill} c)")
            }
            4 => format!(
                "(sum by (g) ({left}) {arithmetic} on (g) group_right (){} {})",
                self.fill(),
                self.dice.pick(&["b", "c", "a_total"])
            ),
            5 => format!(
                "({left} {arithmetic} ignoring (g) group_left (z) label_replace(c{{g=\"x\"}}, \"z\", \"-$1\", \"i\", \"(.*)\"))"
            ),
            _ => {
                let on = self.dice.pick(&["on (i)", "on (i, g)", "ignoring (g)"]);
                let fill = self.fill();
                let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
                format!("(max by (i, g) ({left}) {arithmetic} {on}{fill} sum by (i, g) ({right}))")
            }
        }
    }

    fn fill(&mut self) -> &'static str {
        let fills = [
            "",
            "",
            "",
            " fill (0)",
            " fill_left (1)",
            " fill_right (-2)",
            " fill_left (1) fill_right (2)",
            " fill_right (NaN) fill_left (-Inf)",
        ];
        fills[self.dice.below(if self.newest { fills.len() as u64 } else { 1 }) as usize]
    }

    /// Mostly a quantile that makes sense.
    fn quantile(&mut self) -> String {
        let odd = ["-0.5", "1.5", "NaN", "0", "1", "scalar(b{i=\"1\"}) / 100"];
        if self.newest && self.dice.once_in(8) {
            return self.dice.pick(&odd).to_owned();
        }
        format!("0.{}", self.dice.below(10))
    }

    fn scalar(&mut self) -> String {
        match self.dice.below(9) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.selector()),
            2 => "-0.5".to_owned(),
            3 if self.newest => "max_of(3, time() % 7)".to_owned(),
            4 if self.window => self.dice.pick(&["step()", "range()", "start()", "end()"]).to_owned(),
            5 if self.newest => self.dice.pick(&["NaN", "-Inf", "0", "1e3", "0x1A", "min_of(pi(), 3)"]).to_owned(),
            _ => self.dice.below(20).to_string(),
        }
    }

    fn function(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        match self.dice.below(if self.newest { 20 } else { 12 }) {
            0 => format!("-({inner})"),
            1 => format!("clamp({inner}, 2, {})", self.scalar()),
            2 => format!("round({inner}, 0.25)"),
            3 => format!("histogram_quantile(0.{}, rate(l_bucket[{}]))", self.dice.below(10), self.millis(9)),
            4 => format!("label_replace({inner}, \"z\", \"$1-\", \"i\", \"(.)\")"),
            5 => format!("timestamp({inner})"),
            6 => format!("absent({inner})"),
            7 => format!("vector(scalar({inner}))"),
            8 => format!("label_join({inner}, \"z\", \"/\", \"g\", \"i\")"),
            9 => format!("{}({inner})", self.dice.pick(&["sort", "sort_desc"])),
            12 => format!("{}({inner}, \"g\", \"i\")", self.dice.pick(&["sort_by_label", "sort_by_label_desc"])),
            13 => self.info(),
            14 => format!("histogram_quantile({}, sum by (le) (l_bucket))", self.quantile()),
            15 => format!("{}({inner}, {})", self.dice.pick(&["clamp_min", "clamp_max", "round"]), self.scalar()),
            16 => format!("{}({})", self.dice.pick(&["timestamp", "start_timestamp"]), self.selector()),
            17 => self.relabelling(&inner),
            18 => format!("{}({inner})", self.dice.pick(&NEWER_FUNCTIONS)),
            _ => {
                let names =
                    ["abs", "ceil", "floor", "sgn", "exp", "hour", "day_of_week", "month", "sqrt", "ln", "sin", "deg"];
                format!("{}({inner})", self.dice.pick(&names))
            }
        }
    }

    fn info(&mut self) -> String {
        let filters = [
            "",
            ", {version=\"1\"}",
            ", {version=~\".+\"}",
            ", {none=\"\"}",
            ", {__name__=\"build_info\"}",
            ", {__name__=~\".+_info\", os=~\"li.*\"}",
            ", {__name__=~\".+_info\"}",
            ", {version!=\"1\", os=\"linux\"}",
        ];
        let filter = self.dice.pick(&filters);
        match self.dice.below(3) {
            0 => format!("info(w_total{filter})"),
            1 => format!("info(sum by (instance, job) (w_total){}{filter})", self.dice.pick(&["", " * 2", " > 50"])),
            _ => format!("info(rate(w_total[{}]){filter})", self.millis(5)),
        }
    }

    fn relabelling(&mut self, inner: &str) -> String {
        match self.dice.below(5) {
            0 => format!("label_replace({inner}, \"i\", \"\", \"\", \"\")"),
            1 => format!("label_replace({inner}, \"__name__\", \"$2_$1\", \"__name__\", \"(.)(.*)\")"),
            2 => format!("label_replace({inner}, \"\u{e4}.z\", \"${{one}}\", \"i\", \"(?P<one>[0-2])|.\")"),
            3 => format!("label_join({inner}, \"g\", \"\", \"i\", \"none\", \"i\")"),
            _ => format!("label_join({inner}, \"__name__\", \":\", \"__name__\", \"i\")"),
        }
    }

    fn histogram_function(&mut self, depth: u32) -> String {
        let inner = if self.dice.once_in(2) {
            let name = self.dice.pick(&["h", "n", "hg", "hz", "nc", "m", "l_bucket"]);
            let function = self.dice.pick(&["rate", "increase", "delta", "sum_over_time", "avg_over_time", "irate"]);
            format!("{function}({name}[{}])", self.millis(7))
        } else {
            self.vector(depth - 1)
        };
        match self.dice.below(6) {
            0 => format!("histogram_quantile({}, {inner})", self.quantile()),
            1 => {
                let (low, high) = (self.dice.pick(&["0.2", "-Inf", "-1", "NaN", "0"]), self.dice.below(5));
                let high = if self.dice.once_in(5) { "Inf".to_owned() } else { high.to_string() };
                format!("histogram_fraction({low}, {high}, {inner})")
            }
            2 => {
                let second = self.quantile();
                format!("histogram_quantiles({inner}, \"q\", 0.55, {second}{})", self.dice.pick(&["", ", 0.99, -1"]))
            }
            3 => format!("histogram_fraction(0.2, {}, l_bucket)", self.dice.below(6)),
            _ => {
                let names =
                    ["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"];
                format!("{}({inner})", self.dice.pick(&names))
            }
        }
    }
}
