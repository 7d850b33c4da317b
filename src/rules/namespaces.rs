//! Rule groups that were set over the API instead of by files, kept in the data folder.
//!
//! A namespace holds groups by name, as a rule file does. A group is kept as it was written, after it passed the checks
//! of rule files; what is set is on disk before it runs. The form on disk is in docs/format/rules.md.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::Millis;
use crate::base::disk::{Disk, sealed};
use crate::base::yaml::{self, YamlError};
use crate::rules::file;
use crate::rules::rule::GroupSpec;

/// Version of the file's form.
const VERSION: u32 = 2;

/// Bytes of the file.
const BYTES_MAX: u64 = 64 << 20;

/// Groups of all namespaces.
const GROUPS_MAX: usize = 10_000;

/// Bytes of the name of a namespace.
const NAME_BYTES_MAX: usize = 512;

/// All namespaces, in memory and on disk.
#[derive(Debug)]
pub struct Namespaces {
    disk: Disk,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Groups in the order in which they were first set.
    namespaces: BTreeMap<String, Vec<Value>>,
    /// For groups without an interval.
    default_interval: Millis,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileForm {
    version: u32,
    namespaces: BTreeMap<String, Vec<Value>>,
}

/// Why something was not set or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<YamlError>),
    #[error("{0}")]
    Refused(String),
    #[error("group does not exist")]
    NotFound,
    #[error("rules could not be saved: {0}")]
    Disk(#[from] io::Error),
}

impl Namespaces {
    /// Reads what was set before. The folder is made if need be. A damaged file is set aside, and nothing is set then.
    /// So is one of a newer version, of which is kept what this version understands.
    pub fn open(disk: Disk, folder: &Path) -> io::Result<Self> {
        disk.create_dir_all(folder)?;
        let path = folder.join("namespaces.json");
        let namespaces = match disk.read(&path, BYTES_MAX) {
            Ok(bytes) => match parse(&bytes) {
                Ok(form) if form.version > VERSION => Self::newer(&disk, &path, form),
                Ok(form) => form.namespaces,
                Err(why) => Self::without(&disk, &path, &why),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => Self::without(&disk, &path, &error.to_string()),
        };
        Ok(Self { disk, path, state: Mutex::new(State { namespaces, default_interval: 60_000 }) })
    }

    /// What a file of a newer version leaves: its groups, as far as this version reads them. The file is set aside whole,
    /// because writing it again would lose what this version does not know.
    fn newer(disk: &Disk, path: &Path, form: FileForm) -> BTreeMap<String, Vec<Value>> {
        crate::telemetry::damage::note("rules/namespaces.json");
        let aside = disk.set_aside(path).map_or_else(|error| error.to_string(), |aside| aside.display().to_string());
        tracing::error!(
            version = form.version,
            known = VERSION,
            aside,
            "rules that were set over the API were written by a newer version; they run as far as this one \
             understands them, and the file was set aside"
        );
        let form = FileForm { version: VERSION, namespaces: form.namespaces };
        let written = serde_json::to_vec(&form).map_err(io::Error::from);
        if let Err(error) = written.and_then(|bytes| disk.publish(path, &sealed::seal(&bytes))) {
            tracing::warn!(%error, "they are not written again yet");
        }
        form.namespaces
    }

    /// What a damaged file leaves: nothing.
    fn without(disk: &Disk, path: &Path, why: &str) -> BTreeMap<String, Vec<Value>> {
        crate::telemetry::damage::note("rules/namespaces.json");
        let aside = disk.set_aside(path).map_or_else(|error| error.to_string(), |aside| aside.display().to_string());
        tracing::error!(
            why,
            aside,
            "rules that were set over the API are damaged, and do not run; they were set aside"
        );
        BTreeMap::new()
    }

    /// Sets the interval of groups that have none.
    pub fn set_default_interval(&self, interval: Millis) {
        self.state.lock().default_interval = interval;
    }

    /// The groups of all namespaces, ready to run. What this version refuses is left out and logged.
    pub fn specs(&self) -> Vec<GroupSpec> {
        let state = self.state.lock();
        let mut specs = Vec::new();
        for (namespace, groups) in &state.namespaces {
            let text = serde_json::json!({ "groups": groups }).to_string();
            match file::read(namespace, &text, state.default_interval) {
                Ok(read) => specs.extend(read),
                Err(faults) => {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    tracing::warn!(namespace, faults = faults.join("; "), "rules that were set before do not run");
                }
            }
        }
        specs
    }

    /// All namespaces with their groups.
    pub fn all(&self) -> BTreeMap<String, Vec<Value>> {
        self.state.lock().namespaces.clone()
    }

    /// The groups of a namespace.
    pub fn namespace(&self, name: &str) -> Option<Vec<Value>> {
        self.state.lock().namespaces.get(name).cloned()
    }

    /// A group.
    pub fn group(&self, namespace: &str, name: &str) -> Option<Value> {
        self.namespace(namespace)?.into_iter().find(|group| is_called(group, name))
    }

    /// Sets a group from its YAML; one of the same name is replaced.
    pub fn set(&self, namespace: &str, text: &str) -> Result<(), NamespaceError> {
        if namespace.is_empty() || namespace.len() > NAME_BYTES_MAX {
            return Err(NamespaceError::Refused(format!("a namespace has 1 to {NAME_BYTES_MAX} bytes")));
        }
        let group = checked(namespace, text)?;
        let name = group.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.change(|namespaces| {
            let groups = namespaces.entry(namespace.to_owned()).or_default();
            match groups.iter_mut().find(|known| is_called(known, &name)) {
                Some(known) => *known = group,
                None => groups.push(group),
            }
            if namespaces.values().map(Vec::len).sum::<usize>() > GROUPS_MAX {
                return Err(NamespaceError::Refused(format!("there are {GROUPS_MAX} groups already")));
            }
            Ok(())
        })
    }

    /// Removes a group, or all of a namespace.
    pub fn remove(&self, namespace: &str, group: Option<&str>) -> Result<(), NamespaceError> {
        self.change(|namespaces| {
            let Some(groups) = namespaces.get_mut(namespace) else { return Err(NamespaceError::NotFound) };
            let before = groups.len();
            groups.retain(|known| group.is_some_and(|name| !is_called(known, name)));
            if groups.len() == before {
                return Err(NamespaceError::NotFound);
            }
            if groups.is_empty() {
                namespaces.remove(namespace);
            }
            Ok(())
        })
    }

    /// Changes a copy, writes it, and only then takes it.
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Vec<Value>>) -> Result<(), NamespaceError>,
    ) -> Result<(), NamespaceError> {
        let mut state = self.state.lock();
        let mut namespaces = state.namespaces.clone();
        change(&mut namespaces)?;
        let form = FileForm { version: VERSION, namespaces };
        let bytes = serde_json::to_vec(&form).map_err(io::Error::from)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(NamespaceError::Refused(format!("all groups together have more than {BYTES_MAX} bytes")));
        }
        self.disk.publish(&self.path, &sealed::seal(&bytes))?;
        state.namespaces = form.namespaces;
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<FileForm, String> {
    serde_json::from_slice(sealed::unseal(bytes)?).map_err(|error| error.to_string())
}

/// Checks the bytes of such a file; answers what it holds.
///
/// # Errors
/// Says what is damaged.
pub fn verify(bytes: &[u8]) -> Result<String, String> {
    let form = parse(bytes)?;
    if form.version > VERSION {
        return Err(format!("version {} is not known", form.version));
    }
    Ok(format!(
        "{} namespaces, {} groups",
        form.namespaces.len(),
        form.namespaces.values().map(Vec::len).sum::<usize>()
    ))
}

fn is_called(group: &Value, name: &str) -> bool {
    group.get("name").and_then(Value::as_str) == Some(name)
}

/// A group after the checks of rule files, as it was written.
fn checked(namespace: &str, text: &str) -> Result<Value, NamespaceError> {
    let fault = |error: YamlError| NamespaceError::Faults(vec![error]);
    let group: Value = yaml::read_plain(namespace, text).map_err(fault)?;
    if !group.is_object() {
        return Err(NamespaceError::Refused("the body is one rule group in YAML".to_owned()));
    }
    // One line further in and two columns to the right, which the faults' places are corrected by.
    let mut inside = String::from("groups:\n- ");
    inside.push_str(&text.trim_start_matches("---\n").trim_end().replace('\n', "\n  "));
    let read = file::read(namespace, &inside, 60_000);
    read.map_err(|mut faults| {
        for fault in &mut faults {
            fault.at = fault.at.map(|(line, column)| (line.saturating_sub(1).max(1), column.saturating_sub(2).max(1)));
        }
        NamespaceError::Faults(faults)
    })?;
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_kept_over_a_restart_and_faults_have_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Namespaces::open(Disk::real(), folder.path()).unwrap();
        let namespaces = open();
        let text = "name: g\ninterval: 10s\nrules:\n- alert: A\n  expr: up == 0\n  for: 1m\n";
        namespaces.set("team a", text).unwrap();
        namespaces.set("team a", &text.replace("name: g", "name: h")).unwrap();
        namespaces.set("team a", &text.replace("10s", "20s")).unwrap();
        let again = open();
        let specs = again.specs();
        assert_eq!(
            specs.iter().map(|spec| (&*spec.name, spec.interval)).collect::<Vec<_>>(),
            [("g", 20_000), ("h", 10_000)]
        );
        assert_eq!(&*specs[0].file, "team a");
        let error = again.set("x", "name: g\nrules:\n- alert: A\n  expr: sum(\n").unwrap_err().to_string();
        assert!(error.starts_with("x:4:") && error.contains("could not parse expression"), "{error}");
        assert!(matches!(again.remove("team a", Some("none")), Err(NamespaceError::NotFound)));
        again.remove("team a", Some("g")).unwrap();
        again.remove("team a", None).unwrap();
        assert!(open().specs().is_empty() && again.all().is_empty());
    }
    #[test]
    fn a_file_of_a_newer_version_is_set_aside_and_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namespaces.json");
        let text = br#"{"version": 3, "more": 1, "namespaces": {"a": [
            {"name": "known", "rules": [{"record": "x", "expr": "vector(1)"}]}], "b": [
            {"name": "strange", "kind": "of tomorrow", "rules": []}]}}"#;
        let written = sealed::seal(text);
        std::fs::write(&path, &written).unwrap();
        for _ in 0..2 {
            let open = Namespaces::open(Disk::real(), folder.path()).unwrap();
            let specs = open.specs();
            assert_eq!(specs.iter().map(|spec| &*spec.name).collect::<Vec<_>>(), ["known"]);
            open.set("c", "name: set\nrules: [{record: y, expr: vector(2)}]").unwrap();
            open.remove("c", None).unwrap();
        }
        // The second start found a file of our version and left what was set aside.
        assert_eq!(std::fs::read(folder.path().join("namespaces.json.damaged")).unwrap(), written);
        assert_eq!(verify(&std::fs::read(&path).unwrap()).unwrap(), "2 namespaces, 2 groups");
    }
}
