//! novascope: one process that takes in metrics, keeps them at one-second resolution and answers PromQL.
//!
//! Modules stand in rows; a module uses itself and lower rows, never its own row (`tests/tidy` checks it).
//! docs/ARCHITECTURE.md has the invariants of each and the glossary.

// Row 0: seams to the machine, and wire structures.
pub mod base;
pub mod proto;

// Row 1: the nouns of the field, our own counters, embedded pages.
pub mod model;
pub mod telemetry;
pub mod ui;

// Row 2: column codecs, the query language, listeners, Go templates.
pub mod codec;
pub mod promql;
pub mod server;
pub mod template;

// Row 3: the durable substrate of every signal.
pub mod storage;

// Row 4: the signal stores.
pub mod metrics;

// Row 5: protocols in, queries over the stores, data and notifications out.
pub mod export;
pub mod ingest;
pub mod notify;
pub mod query;

// Row 6: recording and alerting rules.
pub mod rules;

// Row 7: service level objectives.
pub mod slo;

// Row 8: every HTTP and gRPC interface.
pub mod api;

// Rows 9 and 10: composition, and commands.
pub mod app;
pub mod cli;
