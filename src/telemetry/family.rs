//! Families of cells by label values, made for `static` items.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::telemetry::cell::{Counter, Gauge, Histogram};
use crate::telemetry::registry::registry;
use crate::telemetry::snapshot::{self, Kind, Point, Sample};

/// Label sets in one family. Enough for every closed list we have; a cell costs about 100 bytes for ever.
pub const CHILDREN_MAX: usize = 512;

/// Upper bounds in seconds for the time something takes, from 100 µs to 10 s.
pub const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A counter family with `N` labels.
pub type Counters<const N: usize> = Family<Counter, N>;
/// A gauge family with `N` labels.
pub type Gauges<const N: usize> = Family<Gauge, N>;
/// A histogram family with `N` labels.
pub type Histograms<const N: usize> = Family<Histogram, N>;

/// What a family can hold.
pub trait Cell: Send + Sync + 'static {
    const KIND: Kind;
    fn make(bounds: &'static [f64]) -> Self;
    fn read(&self) -> Point;
}

impl Cell for Counter {
    const KIND: Kind = Kind::Counter;
    fn make(_: &'static [f64]) -> Self {
        Self::default()
    }
    fn read(&self) -> Point {
        Point::Value(snapshot::as_float(self.value()))
    }
}

impl Cell for Gauge {
    const KIND: Kind = Kind::Gauge;
    fn make(_: &'static [f64]) -> Self {
        Self::default()
    }
    fn read(&self) -> Point {
        Point::Value(self.value())
    }
}

impl Cell for Histogram {
    const KIND: Kind = Kind::Histogram;
    fn make(bounds: &'static [f64]) -> Self {
        Self::new(bounds)
    }
    fn read(&self) -> Point {
        self.point()
    }
}

/// A named family of cells. Declare it as a `static`:
/// `static REFUSED: Counters<1> = Counters::new("novascope_refused_total", "Samples refused.", ["reason"]);`
#[derive(Debug)]
pub struct Family<C: 'static, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    bounds: &'static [f64],
    announced: AtomicBool,
    /// Sorted by label values. Cells live as long as the process, so that handles need no counting.
    children: RwLock<Vec<([String; N], &'static C)>>,
}

impl<C: Cell, const N: usize> Family<C, N> {
    /// A counter's name ends in `_total`, a unit stands last before it.
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self::with_bounds(name, help, labels, SECONDS)
    }

    /// As [`Family::new`], with a histogram's upper bounds.
    pub const fn with_bounds(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Self {
        Self { name, help, labels, bounds, announced: AtomicBool::new(false), children: RwLock::new(Vec::new()) }
    }

    /// The cell of these label values, made at the first call. Keep it where the path is hot.
    pub fn with(&'static self, values: [&str; N]) -> &'static C {
        if !self.announced.swap(true, Ordering::Relaxed) {
            registry().announce(self);
        }
        let position = |children: &[([String; N], &'static C)]| {
            children.binary_search_by(|(held, _)| held.iter().map(String::as_str).cmp(values.iter().copied()))
        };
        {
            let children = self.children.read();
            if let Ok(at) = position(&children) {
                return children[at].1;
            }
        }
        let mut children = self.children.write();
        match position(&children) {
            Ok(at) => children[at].1,
            Err(_) if children.len() >= CHILDREN_MAX && values.iter().any(|value| *value != "overflow") => {
                drop(children);
                self.with(["overflow"; N])
            }
            Err(at) => {
                let cell: &'static C = Box::leak(Box::new(C::make(self.bounds)));
                children.insert(at, (values.map(str::to_owned), cell));
                cell
            }
        }
    }
}

impl<C: Cell> Family<C, 0> {
    /// The only cell of a family without labels.
    pub fn get(&'static self) -> &'static C {
        self.with([])
    }
}

/// A family, whatever its cells and labels.
pub trait Gather: Sync {
    fn gather(&self) -> snapshot::Family;
}

impl<C: Cell, const N: usize> Gather for Family<C, N> {
    fn gather(&self) -> snapshot::Family {
        let mut family = snapshot::Family::new(self.name, self.help, C::KIND);
        family.samples = self
            .children
            .read()
            .iter()
            .map(|(values, cell)| Sample {
                labels: self
                    .labels
                    .iter()
                    .zip(values)
                    .map(|(name, value)| (Cow::Borrowed(*name), Cow::Owned(value.clone())))
                    .collect(),
                point: cell.read(),
            })
            .collect();
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_beyond_the_limit_share_one_cell() {
        static FAMILY: Counters<1> = Counters::new("novascope_test_overflow_total", "Test.", ["n"]);
        for n in 0..CHILDREN_MAX + 10 {
            FAMILY.with([&n.to_string()]).inc();
        }
        assert_eq!(FAMILY.with(["overflow"]).value(), 10);
        assert_eq!(FAMILY.gather().samples.len(), CHILDREN_MAX + 1);
        assert_eq!(FAMILY.with(["3"]).value(), 1);
    }
}
