//! Rule files: Prometheus' own, and Kubernetes' PrometheusRule objects around the same groups.
//!
//! A file is checked whole and all its faults are given, each with file, line and column; a fault inside an expression
//! points into the expression where it stands on one line.

mod check;
mod documents;
pub mod hint;
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::yaml::YamlError;
use crate::rules::file::check::Reader;
use crate::rules::rule::GroupSpec;

/// Bytes of one rule file. The largest that generators write have a few megabytes.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Reads a file from disk.
pub fn load(path: &Path, default_interval: Millis) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    load_as(path, default_interval, false)
}

/// As [`load`]; keys that are not known are passed over.
pub fn load_leniently(path: &Path, default_interval: Millis) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    load_as(path, default_interval, true)
}

fn load_as(path: &Path, default_interval: Millis, is_lenient: bool) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    let name = path.display().to_string();
    let fault = |why: String| vec![YamlError::whole_file(&name, why)];
    let metadata = fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fault(format!("rule file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    read_as(&name, &text, default_interval, is_lenient)
}

/// Reads the text of a file. Groups without an interval take the default.
pub fn read(file: &str, text: &str, default_interval: Millis) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    read_as(file, text, default_interval, false)
}

/// As [`read`]; a lenient reader passes over keys that are not known. Faults of a file that has such keys are without
/// their places.
pub fn read_as(
    file: &str,
    text: &str,
    default_interval: Millis,
    is_lenient: bool,
) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    let read = documents::groups(file, text, is_lenient).map_err(|error| vec![error])?;
    let mut reader = Reader { file, text, has_places: read.has_places, faults: Vec::new() };
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    let mut specs = Vec::new();
    for group in read.groups {
        let at = place(&group.name);
        let name = &group.name.value;
        if name.is_empty() {
            reader.fault(at, "Groupname must not be empty");
        } else if let Some(line) = names.insert(name.clone(), at.0) {
            let hint = format!("the other one stands in line {line}; give one of them another name");
            reader.fault_with(at, format!("groupname: \"{name}\" is repeated in the same file"), Some(hint));
        }
        if group.partial_response_strategy.is_some() && !read.is_kubernetes {
            reader.fault(at, "partial_response_strategy is a key of Kubernetes objects only");
        }
        specs.push(reader.group(&group, default_interval));
    }
    if reader.faults.is_empty() { Ok(specs) } else { Err(reader.faults) }
}

fn place<T>(spanned: &Spanned<T>) -> (u64, u64) {
    (spanned.referenced.line(), spanned.referenced.column())
}

#[cfg(test)]
mod tests;
