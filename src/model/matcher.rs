//! Label matchers: `=`, `!=`, `=~`, `!~`.

use std::fmt;
use std::sync::Arc;

use crate::model::re2::{Pattern, Shape};

pub use crate::model::re2::RegexError;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written in PromQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    /// `!=` and `!~`.
    pub fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotRegex)
    }
}

/// A condition on one label. A label that is absent has the empty value.
#[derive(Clone)]
pub struct Matcher {
    pub name: Arc<str>,
    pub op: MatchOp,
    pub value: Arc<str>,
    pattern: Option<Pattern>,
    matches_empty: bool,
}

impl Matcher {
    /// Compiles the regex, if there is one: anchored at both ends, `.` matches newlines (Go's RE2 syntax).
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Self, RegexError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(value)?),
        };
        let mut matcher = Self { name: name.into(), op, value: value.into(), pattern, matches_empty: false };
        matcher.matches_empty = matcher.matches("");
        Ok(matcher)
    }

    /// Whether a label with this value (empty where absent) fulfils the condition.
    pub fn matches(&self, value: &str) -> bool {
        let named = match &self.pattern {
            None => *self.value == *value,
            Some(pattern) => pattern.is_match(value),
        };
        named != self.op.is_negative()
    }

    /// Whether series without the label fulfil the condition.
    pub fn is_empty_matching(&self) -> bool {
        self.matches_empty
    }

    /// What values the text of the matcher stands for, before a negation: `=` and `=~` accept these, `!=` and `!~` refuse
    /// these. `None` for `=` and `!=`, which stand for their one value.
    pub fn shape(&self) -> Option<&Shape> {
        self.pattern.as_ref().map(Pattern::shape)
    }

    /// The values that the text of the matcher stands for, before a negation, where they are a known set; ascending for
    /// a regex. `None` where there are too many to list.
    pub fn set_values(&self) -> Option<MatcherSet<'_>> {
        match self.shape() {
            None => Some(MatcherSet::One(&self.value)),
            Some(Shape::Set(values)) => Some(MatcherSet::Many(values)),
            Some(_) => None,
        }
    }

    /// How all values begin that the text of the matcher stands for, before a negation. Empty where nothing is known.
    pub fn prefix(&self) -> &str {
        match self.shape() {
            None => &self.value,
            Some(Shape::Prefix { prefix, .. }) => prefix,
            Some(_) => "",
        }
    }
}

/// The values of [`Matcher::set_values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatcherSet<'a> {
    One(&'a str),
    Many(&'a [Box<str>]),
}

impl<'a> MatcherSet<'a> {
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (one, many) = match self {
            Self::One(value) => (Some(value), &[][..]),
            Self::Many(values) => (None, values),
        };
        one.into_iter().chain(many.iter().map(|value| &**value))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.symbol(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "job", value).unwrap()
    }

    #[test]
    fn absent_labels() {
        assert!(matcher(MatchOp::Equal, "").is_empty_matching());
        assert!(matcher(MatchOp::NotEqual, "a").is_empty_matching());
        assert!(matcher(MatchOp::Regex, "a|").is_empty_matching());
        assert!(!matcher(MatchOp::NotRegex, ".*").is_empty_matching());
        assert!(matcher(MatchOp::NotRegex, ".+").is_empty_matching());
    }

    #[test]
    fn values_before_the_negation() {
        let values = |op, value| {
            let matcher = matcher(op, value);
            matcher.set_values().map(|set| set.iter().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(values(MatchOp::NotEqual, "a").unwrap(), ["a"]);
        assert_eq!(values(MatchOp::NotRegex, "b|a").unwrap(), ["a", "b"]);
        assert_eq!(values(MatchOp::Regex, "a.*"), None);
        assert_eq!(matcher(MatchOp::Regex, "a.*").prefix(), "a");
        assert_eq!(matcher(MatchOp::Equal, "abc").prefix(), "abc");
    }
}
