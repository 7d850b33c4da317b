//! Recording and alerting rules.
//!
//! Owns rule files as Prometheus has them, the evaluation of groups on their schedule, the life of alerts from pending
//! over firing to resolved, and what survives a reload or a restart. A rule sees the store through a [`seam::Backend`]
//! and hands alerts to a [`seam::AlertSink`]; with both simulated, a whole life of rules runs in a test without waiting.
//!
//! Passing through: [`file`] reads and checks, [`rule`] is what was read, [`group`] evaluates one iteration of a group
//! ([`alert`] is the state of one alerting rule, [`expansion`] its templates), [`schedule`] says when, [`engine`] runs
//! all groups, reloads and keeps state. [`unit_test`] runs promtool's test files over the same code.
//!
//! [`forward`] sends alerts on to Alertmanagers elsewhere, where a prometheus.yml names some.
//!
//! Does not deliver alerts to people and answers no HTTP.

pub mod absent;
pub mod alert;
pub mod dependency;
pub mod engine;
pub mod expansion;
pub mod file;
pub mod forward;
pub mod group;
pub mod namespaces;
pub mod near;
pub mod replay;
pub mod rule;
pub mod schedule;
pub mod seam;
pub mod snapshot;
pub mod store;
pub mod unit_test;
