//! An alertmanager.yml and the template files that it names.

use std::path::Path;

use crate::app::config::read;
use crate::base::glob;
use crate::base::yaml::{self, YamlError};
use crate::notify::config::Config;
use crate::notify::dispatch::Routing;
use crate::notify::notifier::Loaded;

/// Reads and checks an alertmanager.yml. Relative template files are relative to it.
pub fn load(path: &Path) -> Result<Loaded, YamlError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&path.display().to_string(), &read(path)?, folder)
}

fn parse(name: &str, text: &str, folder: &Path) -> Result<Loaded, YamlError> {
    let config: Config = yaml::read(name, text)?;
    Routing::build(config.clone()).map_err(|error| YamlError::whole_file(name, error.to_string()))?;
    let mut templates = Vec::new();
    for pattern in &config.templates {
        for path in glob::expand(&folder.join(pattern)) {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            templates.push((file, read(&path)?));
        }
    }
    Ok(Loaded { text: crate::app::config::redact::secrets(text), config, templates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_alerts_are_kept_and_nobody_is_told() {
        assert_eq!(Loaded::default().config.receivers[0].integrations().len(), 0);
    }

    #[test]
    fn a_mistake_is_found_before_anything_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alertmanager.yml");
        std::fs::write(&path, "route: {receiver: a}\nreceivers: [{name: b}]\ntemplates: ['*.tmpl']\n").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("undefined receiver"));
        std::fs::write(&path, "route: {receiver: b}\nreceivers: [{name: b}]\ntemplates: ['*.tmpl']\n").unwrap();
        std::fs::write(folder.path().join("x.tmpl"), "{{ define \"x\" }}hi{{ end }}").unwrap();
        assert_eq!(load(&path).unwrap().templates.len(), 1);
    }
}
