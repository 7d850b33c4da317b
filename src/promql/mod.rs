//! The query language: lex, parse, check, plan, and evaluate over a [`source::Source`].
//!
//! Nothing here knows where samples come from, and nothing here is asynchronous: a query runs on the thread that calls
//! it and checks its [`source::Source`] and its budget as it goes.

pub mod ast;
mod check;
pub mod duration;
pub mod eval;
pub mod functions;
mod lex;
pub mod parse;
pub mod print;
pub mod quote;
pub mod source;
pub mod syntax_json;
mod token;
