//! Service level objectives: what was promised, what was kept, what is left.
//!
//! Owns files of objectives in four forms ([`file`], [`set`]), the exact counting of good and all events over any window
//! ([`terms`] takes queries apart, [`counts`] reads samples, [`ledger`] keeps running totals, [`view`] is one look), how
//! an objective stands ([`status`]), burn-rate alerts as rules of the rule engine ([`burn`], [`alerting`]), recorded
//! series ([`record`]) and reports ([`report`]).
//!
//! Passing through: files → [`objective::Objective`]s → [`engine::Engine`], which is asked by alerts, by the API and by
//! the recorder. Nothing is kept on disk: ledgers are counted from the store's history, at the start as after a reload.
//!
//! Does not evaluate rules, deliver alerts or know HTTP.

pub mod alerting;
pub mod burn;
pub mod config;
pub mod counts;
pub mod engine;
pub mod file;
#[cfg(test)]
mod fixture;
pub mod ledger;
pub mod maintenance;
pub mod objective;
pub mod record;
pub mod report;
pub mod set;
pub mod status;
pub mod terms;
pub mod view;
pub mod window;

#[cfg(test)]
mod tests;
