//! Regular expressions in the syntax of RE2 as Go reads it, which is what everybody writes in labels, rules and
//! relabelling.
//!
//! Owns the reading of that syntax (the Rust crates read another: set algebra in brackets, Unicode `\d`, no `\Q..\E`), its
//! limits, and what can be said about an expression without running it ([`Shape`]). Matching itself is `regex-automata`,
//! in time linear in the text. A [`Pattern`] is anchored at both ends, and its `.` matches newlines, as Prometheus has it;
//! a [`Search`] is what a bare expression is in Go: it looks inside the text, line by line.

mod class;
mod expand;
mod parse;
mod shape;

use std::sync::Arc;

use regex_automata::Input;
use regex_automata::meta::{Config, Regex};
use regex_syntax::hir::{Hir, Look};

pub use crate::model::re2::shape::Shape;

/// Longest expression that is read.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Room for the compiled program: some 20,000 plain states, where dashboards need hundreds.
const PROGRAM_BYTES_MAX: usize = 2 << 20;

/// Cache of the lazy automaton, for each thread that matches.
const CACHE_BYTES: usize = 256 << 10;

/// An expression that cannot be read or is too large. Worded as Go words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexError(pub String);

/// A compiled expression, anchored at both ends. Clones share the program.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Arc<Regex>,
    shape: Shape,
}

impl Pattern {
    pub fn new(text: &str) -> Result<Self, RegexError> {
        check_len(text)?;
        let body = parse::parse(text, true)?;
        let shape = Shape::of(&body);
        let whole = Hir::concat(vec![Hir::look(Look::Start), body, Hir::look(Look::End)]);
        Ok(Self { regex: Arc::new(compile(&whole, text)?), shape })
    }

    /// Whether the whole text matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Set(values) => shape::contains(values, text),
            Shape::Everything => true,
            Shape::NotEmpty => !text.is_empty(),
            Shape::Prefix { prefix, rest_is_free: true } => text.starts_with(&**prefix),
            Shape::Suffix(suffix) => text.ends_with(&**suffix),
            Shape::Contains(infix) => text.contains(&**infix),
            Shape::Prefix { prefix, rest_is_free: false } => text.starts_with(&**prefix) && self.run(text),
            Shape::Other => self.run(text),
        }
    }

    /// What texts match, as far as it can be said without running.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// `template` with `$1`, `${1}`, `${name}` and `$$` filled in from a text that matches; `None` where it does not.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        self.expand_all(text, [template]).map(|[expanded]| expanded)
    }

    /// Several templates filled in from one match, as [`Self::expand`] does it with one.
    pub fn expand_all<const N: usize>(&self, text: &str, templates: [&str; N]) -> Option<[String; N]> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(Input::new(text), &mut captures);
        captures.is_match().then(|| templates.map(|template| expand::expand(&self.regex, &captures, text, template)))
    }

    fn run(&self, text: &str) -> bool {
        self.regex.is_match(Input::new(text))
    }
}

fn check_len(text: &str) -> Result<(), RegexError> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(RegexError(format!("expression is longer than {PATTERN_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn compile(body: &Hir, text: &str) -> Result<Regex, RegexError> {
    let config = Config::new()
        .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES)
        .onepass_size_limit(Some(CACHE_BYTES))
        .dfa_size_limit(Some(CACHE_BYTES));
    let built = Regex::builder().configure(config).build_from_hir(body);
    built.map_err(|_| parse::fault("expression too large", text))
}

/// A compiled expression that looks for matches inside a text.
#[derive(Clone, Debug)]
pub struct Search(Regex);

impl Search {
    pub fn new(text: &str) -> Result<Self, RegexError> {
        check_len(text)?;
        compile(&parse::parse(text, false)?, text).map(Self)
    }

    /// Whether any part of the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(Input::new(text))
    }

    /// The text with every match replaced by `template`, in which `$1`, `${1}`, `${name}` and `$$` are filled in.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::new();
        let mut rest = 0;
        for captures in self.0.captures_iter(Input::new(text)) {
            let Some(span) = captures.get_match() else { continue };
            out.push_str(text.get(rest..span.start()).unwrap_or_default());
            out.push_str(&expand::expand(&self.0, &captures, text, template));
            rest = span.end();
        }
        out.push_str(text.get(rest..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests;
