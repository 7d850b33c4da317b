//! `format_query` and `parse_query`: the language without data.

use axum::response::Response;

use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::promql::ast::Expr;
use crate::promql::{parse, print, syntax_json};
use crate::server::error::Failure;

/// The query in many lines, as `promtool promql format` writes it.
pub async fn format_query(form: Form) -> Result<Response, Failure> {
    let expr = parsed(form.get("query"))?;
    Ok(answer::success(&print::pretty(&expr), &Notes::default()))
}

/// The syntax tree, in the shape that the tree views of Prometheus and Perses read.
pub async fn parse_query(form: Form) -> Result<Response, Failure> {
    let expr = parsed(form.get("query"))?;
    Ok(answer::success(&syntax_json::to_json(&expr), &Notes::default()))
}

/// Parses the parameter `query`.
pub fn parsed(query: &str) -> Result<Expr, Failure> {
    parse::parse(query).map_err(|error| Failure::parameter("query", error))
}
