//! Files of objectives: our short form, Sloth's, Pyrra's and OpenSLO's, told apart by what they say they are.
//!
//! A file may hold several documents, of several forms, and OpenSLO's lists of objects. It is checked whole; every fault
//! has its line and column. Whatever form, an [`Objective`] comes out.

mod openslo;
mod own;
mod pyrra;
mod sloth;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::base::yaml::{self, YamlError};
use crate::model::calendar;
use crate::slo::objective::Objective;
use text::Reading;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What to do about a second objective of a name.
pub(super) const OTHER_NAME: &str = "give one of them another name";

/// Objectives of one file.
const OBJECTIVES_MAX: usize = 10_000;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub objectives: Vec<Objective>,
    /// Line and column of each.
    pub places: Vec<(u64, u64)>,
    /// Composites whose parts are objectives of any file, by place in `objectives`: their names and weights.
    pub composites: Vec<Composite>,
    pub maintenance: Vec<calendar::Window>,
    /// What its author should know.
    pub notes: Vec<String>,
}

/// An objective made of others.
#[derive(Clone, Debug)]
pub struct Composite {
    pub place: usize,
    /// Line and column of the objective, for faults.
    pub at: (u64, u64),
    pub parts: Vec<(String, f64)>,
}

/// Reads a file from disk.
pub fn load(path: &Path) -> Result<Content, Vec<YamlError>> {
    let name = path.display().to_string();
    let fault = |why: String| vec![YamlError::whole_file(&name, why)];
    let metadata = fs::metadata(path).map_err(|error| fault(format!("cannot read it: {error}")))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fault(format!("file of objectives is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(format!("cannot read it: {error}")))?;
    read(&name, &text)
}

/// Reads the text of a file.
pub fn read(file: &str, text: &str) -> Result<Content, Vec<YamlError>> {
    let mut reading = Reading::new(file, text);
    let mut openslo = Vec::new();
    for document in documents(text) {
        let Some(value) = sniffed(&mut reading, &document) else { continue };
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api, kind) = (word("apiVersion"), word("kind"));
        match api.as_str() {
            "openslo/v1" => openslo.push(document),
            "sloth.slok.dev/v1" => sloth::read_object(&mut reading, &document, &kind),
            "pyrra.dev/v1alpha1" => pyrra::read(&mut reading, &document),
            "" if word("version") == "prometheus/v1" => sloth::read(&mut reading, &document),
            "" if value.get("version").is_some() => {
                let why = format!("unknown version {:?}: Sloth's files have \"prometheus/v1\"", word("version"));
                reading.fault(first_line(&document), why);
            }
            "openslo/v1alpha" | "openslo.com/v2alpha" => {
                let why =
                    format!("{api} is another form than openslo/v1, and is not read: write the file as openslo/v1");
                reading.fault(first_line(&document), why);
            }
            "" => own::read(&mut reading, &document, value.get("slos").is_some_and(Value::is_object)),
            other => {
                let near = yaml::nearest::nearest(other, &["openslo/v1", "sloth.slok.dev/v1", "pyrra.dev/v1alpha1"]);
                let hint = near.map_or(String::new(), |near| format!(": did you mean {near:?}?"));
                reading.fault(first_line(&document), format!("unknown apiVersion {other:?}{hint}"));
            }
        }
    }
    openslo::read(&mut reading, &openslo);
    let mut seen = BTreeSet::new();
    for (objective, at) in reading.content.objectives.iter().zip(&reading.content.places) {
        if !seen.insert(objective.id()) {
            let why = format!("objective {:?} of service {:?} is there twice", objective.name, objective.service);
            reading.faults.push(YamlError::at(file, text, *at, why).with_hint(Some(OTHER_NAME.to_owned())));
        }
    }
    if reading.content.objectives.len() > OBJECTIVES_MAX {
        reading.faults.push(YamlError::whole_file(file, format!("more than {OBJECTIVES_MAX} objectives")));
    }
    if reading.faults.is_empty() { Ok(reading.content) } else { Err(reading.faults) }
}

/// The document as plain data, to see what it is; a fault where it is no YAML.
fn sniffed(reading: &mut Reading<'_>, document: &str) -> Option<Value> {
    match yaml::read_plain::<Value>(reading.file, document) {
        Ok(Value::Null) => None,
        Ok(value @ Value::Object(_)) => Some(value),
        Ok(_) => {
            reading.fault(
                first_line(document),
                "not a file of objectives: it should have slos:, or apiVersion: and kind:",
            );
            None
        }
        Err(error) => {
            reading.faults.push(error);
            None
        }
    }
}

/// The place of the first line that says something.
fn first_line(document: &str) -> (u64, u64) {
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    (document.lines().position(says).unwrap_or(0) as u64 + 1, 1)
}

/// The documents of a text, and the objects of lists at the top level, each at its own lines: what comes before is blank.
fn documents(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut in_list = false;
    for (number, line) in text.lines().enumerate() {
        let ends = line == "---" || line.starts_with("--- ") || line == "...";
        let item =
            line.starts_with("- ") && (in_list || current.lines().all(|l| l.trim().is_empty() || l.starts_with('#')));
        if ends || item {
            all.push(std::mem::replace(&mut current, "\n".repeat(number)));
        }
        in_list = !ends && (in_list || item);
        match line.strip_prefix('-') {
            _ if ends => current.push_str(line.strip_prefix("---").unwrap_or("")),
            Some(rest) if item => {
                current.push(' ');
                current.push_str(rest);
            }
            _ => current.push_str(line),
        }
        current.push('\n');
    }
    all.push(current);
    all.retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    all
}

#[cfg(test)]
mod tests;
