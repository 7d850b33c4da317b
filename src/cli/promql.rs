//! `novascope promql …`: the language without a server.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{complain, say};
use crate::promql::{parse, print};

#[derive(Debug, Subcommand)]
pub(super) enum Promql {
    /// Write a query in many lines.
    Format {
        #[arg(value_name = "QUERY")]
        query: String,
    },
    /// Say whether queries can be understood, and if not, where they go wrong.
    Check {
        #[arg(value_name = "QUERY", required = true)]
        queries: Vec<String>,
    },
}

impl Promql {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::Format { query } => match parse::parse(&query) {
                Ok(expr) => {
                    say(&print::pretty(&expr));
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    complain(&explain(&query, &error));
                    ExitCode::FAILURE
                }
            },
            Self::Check { queries } => {
                let mut code = ExitCode::SUCCESS;
                for query in &queries {
                    match parse::parse(query) {
                        Ok(expr) => say(&format!("ok: {} ({})", query, expr.value_type().documented())),
                        Err(error) => {
                            complain(&explain(query, &error));
                            code = ExitCode::FAILURE;
                        }
                    }
                }
                code
            }
        }
    }
}

/// The error with the line it is in and a caret under the place.
fn explain(query: &str, error: &parse::ParseError) -> String {
    let Some(line) = error.line.checked_sub(1).and_then(|at| query.lines().nth(at)) else { return error.to_string() };
    // The column counts bytes; the caret counts characters.
    let before = line.get(..error.column.saturating_sub(1)).unwrap_or(line);
    let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{error}\n  {line}\n  {indent}^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_fault() {
        let query = "sum(é) by (";
        let error = parse::parse("up{job=}").unwrap_err();
        assert_eq!(explain("up{job=}", &error).lines().nth(2), Some("         ^"));
        let _ = parse::parse(query).unwrap_err();
        assert!(!explain("", &parse::parse("").unwrap_err()).contains('^'));
    }
}
