//! Composition: options and configuration in, a running daemon out.
//!
//! [`options`] are what the command line says, [`config`] what files say. Starting binds every port first, so that a
//! taken one is known before anything is touched, then opens the store, then serves. A reload reads and checks
//! everything before it changes anything. A drain stops listeners, lets requests end, and closes the store last.
//!
//! Nothing here knows a protocol or a format: it only joins what lower rows offer.

mod alerting;
pub mod bind;
pub mod build;
mod calls;
pub mod collect;
pub mod config;
pub mod error;
pub mod feed;
pub mod options;
pub mod ports;
pub mod pulse;
pub mod reload;
mod rules;
pub mod run;
mod slo;
pub mod stop;
pub mod traces;
