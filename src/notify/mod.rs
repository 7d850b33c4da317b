//! Alert delivery with Alertmanager's configuration and semantics: routing, grouping, inhibition, silences, time
//! intervals, and a log of what was delivered.
//!
//! Alerts come in by [`dispatch::Dispatcher::put`], from our own rules and from other Prometheus servers. The parts here
//! are plain state that is told the time: [`dispatch`] decides which groups are due and what each would send; the
//! tasks that deliver are built on top. Nothing is sent from here while a lock is held.

pub mod acknowledge;
pub mod alert;
pub mod compose;
pub mod config;
pub mod deliver;
pub mod dispatch;
pub mod history;
pub mod inhibit;
pub mod log;
pub mod matchers;
pub mod notifier;
pub mod route;
pub mod silence;
pub mod snapshot;
pub mod template;
