//! `novascope check slo FILES`: whether files of objectives would be accepted, and why not.

use std::path::PathBuf;

use crate::cli::verdict::Verdict;
use crate::slo::file;
use crate::slo::set;

pub(super) fn check(files: &[PathBuf]) -> Vec<Verdict> {
    let (mut verdicts, mut contents) = (Vec::new(), Vec::new());
    for path in files {
        let mut verdict = Verdict::of(path);
        match file::load(path) {
            Ok(content) => {
                verdict.summary = format!("{} objectives", content.objectives.len());
                verdict.notes.clone_from(&content.notes);
                contents.push((path.clone(), content));
            }
            Err(faults) => verdict.faults = faults,
        }
        verdicts.push(verdict);
    }
    // What one file says of another counts only where all can be read.
    if contents.len() == files.len()
        && let Err(faults) = set::join(contents)
    {
        for fault in faults {
            let place = files.iter().position(|path| path.display().to_string() == fault.file).unwrap_or(0);
            if let Some(verdict) = verdicts.get_mut(place) {
                verdict.faults.push(fault);
            }
        }
    }
    verdicts
}
