//! Go templates, as rule files and Alertmanager configurations use them.
//!
//! The syntax is read by the crate `gotmpl`; the evaluator is ours, because templates of this field call methods
//! (`.Labels.SortedPairs.Values`, `.StartsAt.Format`, `.Alerts.Firing`), which that crate's data cannot have. Data
//! are [`Value`]s; what has methods is an [`Object`]. Functions beyond Go's own come from the caller in [`Functions`].
//!
//! A run is bounded in output, steps and nesting, so that no template can take the process with it.

mod builtins;
mod exec;
mod format;
pub mod humanize;
pub mod strings;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use gotmpl::parse::{ListNode, Node, Parser};

pub use value::{Kind, Object, Value};

/// A function that templates may call by name.
pub type Function = Arc<dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync>;

/// Functions by name. Go's own (`printf`, `eq`, `index`, …) need not be among them.
pub type Functions = HashMap<&'static str, Function>;

/// Named templates that may call each other.
#[derive(Clone, Default)]
pub struct Templates {
    named: HashMap<String, Arc<ListNode>>,
}

/// A template that cannot be parsed or run; the text is Go's where users know it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// What one run may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of output.
    pub output_bytes_max: usize,
    /// Nodes walked, over all loops and calls.
    pub steps_max: u64,
}

impl Default for Limits {
    /// Notifications are read by people: a megabyte is far beyond any that was meant.
    fn default() -> Self {
        Self { output_bytes_max: 1 << 20, steps_max: 1_000_000 }
    }
}

impl Templates {
    /// Adds the definitions of a file; later ones replace earlier ones of the same name, as in Go.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), TemplateError> {
        let (body, definitions) = parse(name, text)?;
        for definition in definitions {
            self.named.insert(definition.name.to_string(), Arc::new(definition.body));
        }
        if !body.is_empty_tree() || !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), Arc::new(body));
        }
        Ok(())
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.named.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Runs a text that may use the named templates. `name` stands in errors; `prelude` are variables such as `$labels`.
    pub fn expand(&self, run: &Run<'_>) -> Result<String, TemplateError> {
        self.execute(run, false)
    }

    /// As [`Self::expand`], with everything that actions print escaped for HTML unless it was declared safe.
    pub fn expand_page(&self, run: &Run<'_>) -> Result<String, TemplateError> {
        self.execute(run, true)
    }

    fn execute(&self, run: &Run<'_>, is_page: bool) -> Result<String, TemplateError> {
        // Most label and annotation templates hold no action at all.
        if !run.text.contains("{{") {
            return Ok(run.text.to_owned());
        }
        self.prepare(run.name, run.text)?.execute(run, is_page)
    }

    /// Parses a text that will be run many times. `name` stands in errors.
    pub fn prepare(&self, name: &str, text: &str) -> Result<Prepared, TemplateError> {
        let (body, definitions) = parse(name, text)?;
        let mut templates = self.clone();
        for definition in definitions {
            templates.named.insert(definition.name.to_string(), Arc::new(definition.body));
        }
        Ok(Prepared { templates, body: Arc::new(body) })
    }
}

/// A text that is parsed already, with the templates that it may use.
#[derive(Clone)]
pub struct Prepared {
    templates: Templates,
    body: Arc<ListNode>,
}

impl Prepared {
    /// Runs it. The text of `run` is the one that it was parsed from.
    pub fn expand(&self, run: &Run<'_>) -> Result<String, TemplateError> {
        self.execute(run, false)
    }

    fn execute(&self, run: &Run<'_>, is_page: bool) -> Result<String, TemplateError> {
        exec::execute(&self.templates, run, &self.body, is_page)
    }
}

/// One text to expand.
#[derive(Clone)]
pub struct Run<'a> {
    pub name: &'a str,
    pub text: &'a str,
    /// Dot.
    pub data: Value,
    /// Variables that the text can use, with their `$`.
    pub variables: &'a [(&'a str, Value)],
    pub functions: &'a Functions,
    pub limits: Limits,
}

fn parse(name: &str, text: &str) -> Result<(ListNode, Vec<gotmpl::parse::DefineNode>), TemplateError> {
    Parser::with_name(Some(name), text, "{{", "}}")
        .and_then(Parser::parse)
        .map_err(|error| TemplateError(error.to_string()))
}

/// Stands behind a text to see whether it was read to its end.
const END: &str = "\u{0}";

/// Whether a text parses and calls only functions that exist, without running it.
pub fn check(name: &str, text: &str, functions: &Functions) -> Result<(), TemplateError> {
    let (body, definitions) = parse(name, &format!("{text}{END}"))?;
    // The parser stops without a word at an end that nothing begins.
    if !matches!(body.nodes.last(), Some(Node::Text(last)) if last.text.ends_with(END)) {
        return Err(TemplateError(format!("template: {name}:1: unexpected {{{{end}}}} or {{{{else}}}}")));
    }
    for list in std::iter::once(&body).chain(definitions.iter().map(|definition| &definition.body)) {
        exec::check_nodes(name, list, functions, false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn map(pairs: &[(&str, Value)]) -> Value {
        let map: BTreeMap<Arc<str>, Value> =
            pairs.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect();
        Value::Map(Arc::new(map))
    }

    fn functions() -> Functions {
        let mut functions = strings::functions();
        functions.extend(humanize::functions());
        functions
    }

    fn expand(text: &str, data: &Value) -> Result<String, String> {
        let functions = functions();
        let labels = map(&[("instance", Value::from("a:1"))]);
        let run = Run {
            name: "test",
            text,
            data: data.clone(),
            variables: &[("$labels", labels), ("$value", Value::Float(0.25))],
            functions: &functions,
            limits: Limits { output_bytes_max: 1_000, steps_max: 10_000 },
        };
        Templates::default().expand(&run).map_err(|error| error.0)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let list = Value::List(Arc::from([Value::Int(1), Value::Int(2), Value::Int(3)]));
        let data = map(&[("list", list), ("name", Value::from("vm")), ("empty", Value::from(""))]);
        assert_eq!(expand(text, &data).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn the_language_of_go_templates() {
        check("plain", "plain");
        check("{{ $labels.instance }} {{ $labels.missing }}.", "a:1 .");
        check("{{ if .empty }}yes{{ else if eq .name \"vm\" }}vm{{ else }}no{{ end }}", "vm");
        check("{{ range $i, $v := .list }}{{ if $i }}, {{ end }}{{ $v }}{{ end }}", "1, 2, 3");
        check(
            "{{ range .list }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "1",
        );
        check("{{ range .none }}x{{ else }}none{{ end }}", "none");
        check("{{ with .name }}{{ . | toUpper }}{{ end }}", "VM");
        check("{{ $x := 1 }}{{ range .list }}{{ $x = . }}{{ end }}{{ $x }}", "3");
        check("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" .name }}", "<vm>");
        check("{{ printf \"%.2f|%5s|%q|%d|%v\" $value .name .name 3 true }}", "0.25|   vm|\"vm\"|3|true");
        check("{{ len .list }} {{ index .list 1 }} {{ not true }} {{ and 1 0 }} {{ or 0 \"x\" }}", "3 2 false 0 x");
        check(
            "{{ $value | humanizePercentage }} {{ humanize 1234567.0 }} {{ humanizeDuration 3661.0 }}",
            "25% 1.235M 1h 1m 1s",
        );
        check("{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }} {{ title \"disk low\" }}", "a Disk Low");
        check(
            "{{ gt $value 0.2 }} {{ lt 1 2 }} {{ ne .name \"x\" }} {{ eq .name \"a\" \"vm\" }}",
            "true true true true",
        );
        check("{{ if match \"^v\" .name }}m{{ end }}{{- \"  trimmed\" -}}  {{ print 1 2 \"a\" }}", "m  trimmed1 2a");
    }

    #[test]
    fn what_closes_or_leaves_nothing_is_refused_by_checks() {
        let said = |text: &str| super::check("t", text, &functions()).map_err(|error| error.to_string());
        for (text, why) in [
            ("a {{ end }} b", "unexpected {{end}}"),
            ("a {{ else }} b", "unexpected {{end}}"),
            ("{{ if true }}a{{ end }}{{ end }}", "unexpected {{end}}"),
            ("{{ break }}", "{{break}} outside {{range}}"),
            ("{{ range .x }}a{{ else }}{{ continue }}{{ end }}", "{{continue}} outside {{range}}"),
        ] {
            assert!(said(text).unwrap_err().contains(why), "{text}: {:?}", said(text));
        }
        let good = "{{ define \"x\" }}a{{ end }}{{ range .x }}{{ if true }}{{ break }}{{ end }}{{ end -}} ";
        assert_eq!(said(good), Ok(()));
        assert_eq!(said("{{/* a comment */}}"), Ok(()));
        assert_eq!(said(""), Ok(()));
    }

    #[test]
    fn errors_name_the_place() {
        let error = |text| expand(text, &Value::Nil).unwrap_err();
        assert!(error("{{ nosuch 1 }}").contains("function \"nosuch\" not defined"), "{}", error("{{ nosuch 1 }}"));
        assert!(error("a\n{{ template \"x\" }}").contains("test:2"), "{}", error("a\n{{ template \"x\" }}"));
        assert!(error("{{ if }}").contains("test:1"), "{}", error("{{ if }}"));
    }

    #[test]
    fn a_run_is_bounded() {
        let error = |text| expand(text, &Value::Nil).unwrap_err();
        assert!(error("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}").contains("depth"));
        assert!(error("{{ range 100 }}{{ range 1000 }}x{{ end }}{{ end }}").contains("limit"));
    }
}
