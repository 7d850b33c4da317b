//! All files of objectives together: what one says about another's objectives, and that no two are the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::glob;
use crate::base::yaml::YamlError;
use crate::base::yaml::nearest::nearest;
use crate::model::calendar::Calendar;
use crate::slo::file::{self, Composite, Content};
use crate::slo::objective::Objective;

/// Objectives of all files, checked.
#[derive(Clone, Debug, Default)]
pub struct Set {
    pub objectives: Vec<Arc<Objective>>,
    /// For the objectives of all files.
    pub maintenance: Calendar,
    pub notes: Vec<String>,
}

/// Reads every file that a pattern names. Nothing is taken where anything is wrong; all faults are given.
pub fn load(patterns: &[PathBuf]) -> Result<Set, Vec<YamlError>> {
    let (mut contents, mut faults, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        let found = glob::expand(pattern);
        if found.is_empty() {
            notes.push(format!("slo.files: nothing matches {}", pattern.display()));
        }
        for path in found {
            match file::load(&path) {
                Ok(content) => contents.push((path, content)),
                Err(more) => faults.extend(more),
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut set = join(contents)?;
    set.notes.extend(notes);
    Ok(set)
}

/// Puts files together.
pub fn join(contents: Vec<(PathBuf, Content)>) -> Result<Set, Vec<YamlError>> {
    let (mut set, mut faults) = (Set::default(), Vec::new());
    let mut composites: Vec<(PathBuf, usize, Composite)> = Vec::new();
    let mut objectives: Vec<Objective> = Vec::new();
    let mut places = Vec::new();
    for (path, content) in contents {
        let base = objectives.len();
        composites.extend(content.composites.into_iter().map(|one| (path.clone(), base + one.place, one)));
        objectives.extend(content.objectives);
        places.extend(content.places);
        set.maintenance.windows.extend(content.maintenance);
        set.notes.extend(content.notes);
    }
    let mut seen: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for (objective, place) in objectives.iter().zip(&places) {
        if let Some(other) = seen.insert(objective.id(), Arc::clone(&objective.file)) {
            let why = format!("objective {:?} of service {:?} is in {other} too", objective.name, objective.service);
            let fault = at(Path::new(&*objective.file), *place, why);
            faults.push(fault.with_hint(Some(file::OTHER_NAME.to_owned())));
        }
    }
    for (path, place, composite) in composites {
        match parts(&objectives, place, &composite) {
            Ok(parts) => {
                if let Some(objective) = objectives.get_mut(place) {
                    objective.parts = parts;
                }
            }
            Err(why) => faults.push(at(&path, composite.at, why)),
        }
    }
    set.objectives = objectives.into_iter().map(Arc::new).collect();
    if faults.is_empty() { Ok(set) } else { Err(faults) }
}

fn at(path: &Path, at: (u64, u64), why: String) -> YamlError {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    YamlError::at(&path.display().to_string(), &text, at, why)
}

/// The parts of the objectives that a composite names.
fn parts(
    objectives: &[Objective],
    place: usize,
    composite: &Composite,
) -> Result<Vec<crate::slo::objective::Part>, String> {
    let own = objectives.get(place);
    let mut parts = Vec::new();
    for (name, weight) in &composite.parts {
        if weight.is_nan() || *weight <= 0.0 {
            return Err(format!("the weight of {name:?} must be above 0"));
        }
        let named = |other: &&Objective| *other.name == **name || other.id() == *name;
        // Those of the same service first: names are unique only there.
        let near =
            objectives.iter().filter(named).max_by_key(|other| own.is_some_and(|own| own.service == other.service));
        let Some(other) = near else {
            let known: Vec<&str> = objectives.iter().map(|objective| &*objective.name).collect();
            let hint = nearest(name, &known).map_or(String::new(), |near| format!(": did you mean {near:?}?"));
            return Err(format!("no objective is called {name:?}{hint}"));
        };
        let [part] = &*other.parts else {
            return Err(format!("{name:?} is a composite itself"));
        };
        parts.push(crate::slo::objective::Part { name: Arc::clone(&other.name), weight: *weight, ..part.clone() });
    }
    if parts.len() < 2 {
        return Err("a composite has at least two parts".to_owned());
    }
    Ok(parts)
}
