//! Configuration files as text: `${VAR}` expanded, read into a structure, and faults reported where they are.
//!
//! A fault names file, line and column, shows the line with a caret, and for an unknown key the nearest key that
//! would have been right. Unknown keys are only noticed in structures with `#[serde(deny_unknown_fields)]`.
//!
//! The line shown is the one in the file, not the expanded one, which may hold a secret.

pub mod expand;
pub mod nearest;
pub mod place;

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Error;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The file as the operator named it.
    pub file: String,
    /// Line and column from 1; none where the fault is not at a place.
    pub at: Option<(u64, u64)>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line of the file.
    line: Option<String>,
}

impl std::error::Error for YamlError {}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((line, column)) = self.at else {
            write!(f, "{}: {}", self.file, self.message)?;
            return self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"));
        };
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        if let Some(text) = &self.line {
            let indent = usize::try_from(column).unwrap_or(1).saturating_sub(1);
            write!(f, "\n  {text}\n  {:indent$}^", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl YamlError {
    /// A fault that is not at a place in the text.
    pub fn whole_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: None, message: message.into(), hint: None, line: None }
    }

    /// A fault at a line and column of the text, both from 1; found by who read the file, not by the reader of YAML.
    pub fn at(file: &str, text: &str, at: (u64, u64), message: String) -> Self {
        let line = usize::try_from(at.0).ok().and_then(|number| text.lines().nth(number.checked_sub(1)?));
        Self { file: file.to_owned(), at: Some(at), message, hint: None, line: line.map(str::to_owned) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The line of the file that the fault is in, where it is at a place.
    pub fn source_line(&self) -> Option<&str> {
        self.line.as_deref()
    }
}

/// Expands variables with the process's environment and reads the text.
pub fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    read_with(file, text, |name| std::env::var(name).ok())
}

/// As [`read`], with the variables that `variable` knows.
pub fn read_with<T: DeserializeOwned>(
    file: &str,
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<T, YamlError> {
    let expanded =
        expand::expand(text, variable).map_err(|fault| YamlError::at(file, text, fault.at, fault.message))?;
    read_plain(file, &expanded).map_err(|mut error| {
        // The line from the file itself: the expanded one may hold a secret.
        error.line = error.at.and_then(|at| YamlError::at(file, text, at, String::new()).line);
        error
    })
}

/// Line and column of what a path of keys and positions leads to in a text with variables; see [`place::place`].
pub fn place_of(text: &str, path: &[String]) -> Option<(u64, u64)> {
    let expanded = expand::expand(text, |name| std::env::var(name).ok()).ok()?;
    place::place(&expanded, path)
}

/// Reads a text in which `${…}` means nothing, such as a rule file, whose templates have their own dollars.
pub fn read_plain<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(file, text, &error))
}

/// For a value whose empty text means that nothing is said, as in Prometheus' files.
pub fn unless_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| T::deserialize(text.into_deserializer())).transpose()
}

/// For a list whose entries must all say something.
pub fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    let Some(entries) = Option::<Vec<Option<T>>>::deserialize(deserializer)? else { return Ok(None) };
    let filled = |entry: Option<T>| entry.ok_or_else(|| D::Error::custom("an entry of this list is empty"));
    entries.into_iter().map(filled).collect::<Result<_, _>>().map(Some)
}

fn fault(file: &str, text: &str, error: &Error) -> YamlError {
    let message = message(error);
    match error.location().map(|at| (at.line(), at.column())) {
        Some(at) if at.0 > 0 => YamlError::at(file, text, at, message),
        _ => YamlError::whole_file(file, message),
    }
}

fn message(error: &Error) -> String {
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected, "the known keys are"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            unknown("value", variant, expected, "the known values are")
        }
        other => {
            let text = other.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place stands in front already.
            match text.rfind(" at line ") {
                Some(end) => text[..end].to_owned(),
                None => text,
            }
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&'static str], otherwise: &str) -> String {
    match nearest::nearest(name, known) {
        Some(near) => format!("unknown {what} \"{name}\": did you mean \"{near}\"?"),
        None => format!("unknown {what} \"{name}\"; {otherwise} {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct File {
        scrape_interval: crate::base::units::Period,
        ports: Vec<u16>,
    }

    #[track_caller]
    fn check(text: &str, expect: &Expect) {
        let variable = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
        expect.assert_eq(&read_with::<File>("a.yml", text, variable).unwrap_err().to_string());
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_right_one() {
        check(
            "ports: []\nscrape_intervall: 5s\n",
            &expect![[r#"
                a.yml:2:1: unknown key "scrape_intervall": did you mean "scrape_interval"?
                  scrape_intervall: 5s
                  ^"#]],
        );
        check(
            "teapot: 1",
            &expect![[r#"
                a.yml:1:1: unknown key "teapot"; the known keys are scrape_interval, ports
                  teapot: 1
                  ^"#]],
        );
    }

    #[test]
    fn a_bad_value_is_shown_in_its_line() {
        check(
            "scrape_interval: 5 minutes",
            &expect![[r#"
            a.yml:1:18: not a valid duration string: "5 minutes" (write 15s, 1m30s, 100ms; units y, w, d, h, m, s, ms in this order)
              scrape_interval: 5 minutes
                               ^"#]],
        );
        check(
            "ports: [\n",
            &expect![[r#"
            a.yml:1:8: unclosed bracket '['
              ports: [
                     ^"#]],
        );
    }

    #[test]
    fn the_value_of_a_variable_is_not_shown() {
        check(
            "ports: [${SECRET}]",
            &expect![[r#"
            a.yml:1:9: invalid u16
              ports: [${SECRET}]
                      ^"#]],
        );
        check(
            "# ${NOT_READ}\nports: [${UNSET}]",
            &expect![[r#"
            a.yml:2:9: environment variable UNSET is not set; set it or write ${UNSET:-default}
              ports: [${UNSET}]
                      ^"#]],
        );
    }
}
