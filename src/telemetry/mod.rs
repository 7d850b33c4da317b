//! What novascope tells about itself: counters, gauges and histograms, the process's own figures, the log, and
//! spans.
//!
//! A metric family is a `static` beside the code that counts. It joins the [`registry`] at its first use, or at
//! [`registry::Registry::announce`] where a zero is worth showing. Adding is one relaxed atomic instruction on a cell;
//! finding the cell of a label set takes a read lock, so hot paths keep the `&'static` cell.
//!
//! A family holds at most [`family::CHILDREN_MAX`] label sets; later ones share one whose label values are `overflow`.
//! Label values must therefore come from a closed list (protocols, reasons), never from outside.
//!
//! Figures that live elsewhere (the store's statistics) are added by collectors, which run once for each gathering.
//! [`registry::Registry::gather`] gives structures; [`text`] writes them as OpenMetrics 1.0 or text 0.0.4.
//!
//! It does not keep history (the self-scrape appends to the store like any sender) and knows nothing of HTTP.

pub mod cell;
pub mod damage;
pub mod family;
pub mod logs;
pub mod process;
pub mod registry;
pub mod snapshot;
pub mod text;
pub mod traces;

pub use cell::{Counter, Gauge, Histogram};
pub use family::{Counters, Gauges, Histograms};
pub use registry::registry;
