//! Alert delivery with Alertmanager's configuration and semantics: routing, grouping, inhibition, silences, time
//! intervals, and a log of what was delivered; and beyond it acknowledgement, escalation, maintenance, digests, history.
//!
//! Alerts come in by [`dispatch::Dispatcher::put`], from our own rules and from other Prometheus servers. The parts here
//! are plain state that is told the time: [`dispatch`] decides which groups are due and what each would send; the
//! tasks that deliver are built on top. Nothing is sent from here while a lock is held. What may not be forgotten is in
//! [`journal`] before whoever brought it is answered.

pub mod acknowledge;
pub mod alert;
pub mod compose;
pub mod config;
pub mod deliver;
pub mod dispatch;
pub mod escalation;
pub mod fatigue;
pub mod flapping;
pub mod history;
pub mod incident;
pub mod inhibit;
pub mod journal;
pub mod log;
pub mod matchers;
pub mod notifier;
pub mod record;
pub mod recurring;
pub mod route;
pub mod settings;
pub mod silence;
pub mod template;
