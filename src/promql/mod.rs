//! The query language: lex, parse, check, plan, and evaluate over a [`source::Source`].
//!
//! Nothing here knows where samples come from, and nothing here is asynchronous: a query runs on the thread that calls
//! it and checks its [`source::Source`] and its budget as it goes.

pub mod ast;
pub mod source;
