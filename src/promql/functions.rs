//! All functions of the language and their types, as of Prometheus 3.14.
//!
//! Only the table: what the functions compute is the evaluator's.

use crate::promql::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// Name and types of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: &'static str,
    pub args: &'static [ValueType],
    pub variadic: Variadic,
    pub returns: ValueType,
    /// Behind a flag in Prometheus; always on here.
    pub experimental: bool,
}

/// How the number of arguments may differ from that of `args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// Exactly as many as `args`.
    Exact,
    /// One less than `args` is the least; this many more may follow, of the type of the last of `args`.
    UpTo(u8),
    /// One less than `args` is the least; any number may follow.
    Any,
}

impl Variadic {
    /// The number that Prometheus' APIs show.
    pub fn number(self) -> i32 {
        match self {
            Self::Exact => 0,
            Self::UpTo(count) => i32::from(count),
            Self::Any => -1,
        }
    }
}

/// The function of that name; names are case-sensitive.
pub fn lookup(name: &str) -> Option<&'static Signature> {
    let index = FUNCTIONS.binary_search_by(|signature| signature.name.cmp(name)).ok()?;
    FUNCTIONS.get(index)
}

const fn stable(name: &'static str, args: &'static [ValueType], variadic: Variadic, returns: ValueType) -> Signature {
    Signature { name, args, variadic, returns, experimental: false }
}

const fn experimental(
    name: &'static str,
    args: &'static [ValueType],
    variadic: Variadic,
    returns: ValueType,
) -> Signature {
    Signature { name, args, variadic, returns, experimental: true }
}

use Variadic::{Any, Exact, UpTo};

/// All functions, ascending by name.
pub static FUNCTIONS: &[Signature] = &[
    stable("abs", &[Vector], Exact, Vector),
    stable("absent", &[Vector], Exact, Vector),
    stable("absent_over_time", &[Matrix], Exact, Vector),
    stable("acos", &[Vector], Exact, Vector),
    stable("acosh", &[Vector], Exact, Vector),
    stable("asin", &[Vector], Exact, Vector),
    stable("asinh", &[Vector], Exact, Vector),
    stable("atan", &[Vector], Exact, Vector),
    stable("atanh", &[Vector], Exact, Vector),
    stable("avg_over_time", &[Matrix], Exact, Vector),
    stable("ceil", &[Vector], Exact, Vector),
    stable("changes", &[Matrix], Exact, Vector),
    stable("clamp", &[Vector, Scalar, Scalar], Exact, Vector),
    stable("clamp_max", &[Vector, Scalar], Exact, Vector),
    stable("clamp_min", &[Vector, Scalar], Exact, Vector),
    stable("cos", &[Vector], Exact, Vector),
    stable("cosh", &[Vector], Exact, Vector),
    stable("count_over_time", &[Matrix], Exact, Vector),
    stable("day_of_month", &[Vector], UpTo(1), Vector),
    stable("day_of_week", &[Vector], UpTo(1), Vector),
    stable("day_of_year", &[Vector], UpTo(1), Vector),
    stable("days_in_month", &[Vector], UpTo(1), Vector),
    stable("deg", &[Vector], Exact, Vector),
    stable("delta", &[Matrix], Exact, Vector),
    stable("deriv", &[Matrix], Exact, Vector),
    experimental("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Exact, Vector),
    experimental("end", &[], Exact, Scalar),
    stable("exp", &[Vector], Exact, Vector),
    stable("first_over_time", &[Matrix], Exact, Vector),
    stable("floor", &[Vector], Exact, Vector),
    stable("histogram_avg", &[Vector], Exact, Vector),
    stable("histogram_count", &[Vector], Exact, Vector),
    stable("histogram_fraction", &[Scalar, Scalar, Vector], Exact, Vector),
    stable("histogram_quantile", &[Scalar, Vector], Exact, Vector),
    experimental("histogram_quantiles", &[Vector, String, Scalar, Scalar], UpTo(9), Vector),
    stable("histogram_stddev", &[Vector], Exact, Vector),
    stable("histogram_stdvar", &[Vector], Exact, Vector),
    stable("histogram_sum", &[Vector], Exact, Vector),
    stable("hour", &[Vector], UpTo(1), Vector),
    stable("idelta", &[Matrix], Exact, Vector),
    stable("increase", &[Matrix], Exact, Vector),
    experimental("info", &[Vector, Vector], UpTo(1), Vector),
    stable("irate", &[Matrix], Exact, Vector),
    stable("label_join", &[Vector, String, String, String], Any, Vector),
    stable("label_replace", &[Vector, String, String, String, String], Exact, Vector),
    stable("last_over_time", &[Matrix], Exact, Vector),
    stable("ln", &[Vector], Exact, Vector),
    stable("log10", &[Vector], Exact, Vector),
    stable("log2", &[Vector], Exact, Vector),
    experimental("mad_over_time", &[Matrix], Exact, Vector),
    experimental("max_of", &[Scalar, Scalar], Exact, Scalar),
    stable("max_over_time", &[Matrix], Exact, Vector),
    experimental("min_of", &[Scalar, Scalar], Exact, Scalar),
    stable("min_over_time", &[Matrix], Exact, Vector),
    stable("minute", &[Vector], UpTo(1), Vector),
    stable("month", &[Vector], UpTo(1), Vector),
    stable("pi", &[], Exact, Scalar),
    stable("predict_linear", &[Matrix, Scalar], Exact, Vector),
    stable("present_over_time", &[Matrix], Exact, Vector),
    stable("quantile_over_time", &[Scalar, Matrix], Exact, Vector),
    stable("rad", &[Vector], Exact, Vector),
    experimental("range", &[], Exact, Scalar),
    stable("rate", &[Matrix], Exact, Vector),
    stable("resets", &[Matrix], Exact, Vector),
    stable("round", &[Vector, Scalar], UpTo(1), Vector),
    stable("scalar", &[Vector], Exact, Scalar),
    stable("sgn", &[Vector], Exact, Vector),
    stable("sin", &[Vector], Exact, Vector),
    stable("sinh", &[Vector], Exact, Vector),
    stable("sort", &[Vector], Exact, Vector),
    experimental("sort_by_label", &[Vector, String], Any, Vector),
    experimental("sort_by_label_desc", &[Vector, String], Any, Vector),
    stable("sort_desc", &[Vector], Exact, Vector),
    stable("sqrt", &[Vector], Exact, Vector),
    experimental("start", &[], Exact, Scalar),
    experimental("start_timestamp", &[Vector], Exact, Vector),
    stable("stddev_over_time", &[Matrix], Exact, Vector),
    stable("stdvar_over_time", &[Matrix], Exact, Vector),
    experimental("step", &[], Exact, Scalar),
    stable("sum_over_time", &[Matrix], Exact, Vector),
    stable("tan", &[Vector], Exact, Vector),
    stable("tanh", &[Vector], Exact, Vector),
    stable("time", &[], Exact, Scalar),
    stable("timestamp", &[Vector], Exact, Vector),
    experimental("ts_of_first_over_time", &[Matrix], Exact, Vector),
    experimental("ts_of_last_over_time", &[Matrix], Exact, Vector),
    experimental("ts_of_max_over_time", &[Matrix], Exact, Vector),
    experimental("ts_of_min_over_time", &[Matrix], Exact, Vector),
    stable("vector", &[Scalar], Exact, Vector),
    stable("year", &[Vector], UpTo(1), Vector),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert!(FUNCTIONS.is_sorted_by(|left, right| left.name < right.name));
        assert_eq!(FUNCTIONS.len(), 90);
        assert!(FUNCTIONS.iter().all(|signature| lookup(signature.name) == Some(signature)));
        assert_eq!(lookup("Rate"), None);
    }
}
