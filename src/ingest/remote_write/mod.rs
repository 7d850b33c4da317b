//! Prometheus remote write 1.0 and 2.0 at `/api/v1/write`.
//!
//! Owns: the negotiation of message and compression, the walk over both messages, and the answer. Promises: good
//! samples of a request are stored even where others are refused (the answer is then 400, with the counts of what was
//! written in the headers); 204 says that everything is as durable as the store's settings ask; a request sent again is
//! no error. Memory is bounded by the limit of a body: nothing is allocated on a claim.
//! Does not do: sending, relabelling.
//!
//! Data passes: [`routes`] → `http` (negotiate, inflate) → `v1` or `v2` (walk) → `append` (resolve, count) → store.

mod append;
pub mod histogram;
mod http;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub use http::{Receiver, routes};
