//! The built binary from outside: started on free ports, spoken to over sockets, asked over its public API.
//!
//! Each test has a daemon and a data folder of its own. Every wait is bounded and ends as soon as what it waits for
//! is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod alerting;
mod broken;
mod cardinality;
mod cli;
mod daemon;
mod damage;
mod hostile;
mod http;
mod life;
mod notify;
mod own;
mod promtool;
mod proxies;
mod queries;
mod remote_write;
mod rules;
mod slo;
mod transfer;
