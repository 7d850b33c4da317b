//! OTLP metrics in.

pub mod config;
pub mod json;
pub mod names;
pub mod schema;
pub mod value;
