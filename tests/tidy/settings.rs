//! Every setting is in the example file with its default, and every on-disk format has its document.

use std::fs;

use novascope::app::config::own::Own;
use serde_json::Value;

use crate::{assert_only_exceptions, root, sources};

#[test]
fn the_example_file_lists_every_setting_with_its_default() {
    let path = "config/novascope.example.yml";
    let text = fs::read_to_string(root().join(path)).unwrap();
    let example: Value = serde_saphyr::from_str(&text).unwrap();
    let defaults = serde_json::to_value(Own::default()).unwrap();
    let mut faults = Vec::new();
    compare("", &defaults, &example, &mut faults);
    assert!(faults.is_empty(), "{path}:\n{}", faults.join("\n"));
    for line in text.lines().map(str::trim_end) {
        let key = line.trim_start();
        assert!(key.is_empty() || key.starts_with('#') || line.contains(':'), "{path}: {line}");
    }
    let _: Own = serde_saphyr::from_str(&text).unwrap();
}

fn compare(path: &str, defaults: &Value, example: &Value, faults: &mut Vec<String>) {
    match (defaults, example) {
        (Value::Object(defaults), Value::Object(example)) => {
            for (key, value) in defaults {
                match example.get(key) {
                    Some(shown) => compare(&format!("{path}{key}."), value, shown, faults),
                    None => faults.push(format!("{path}{key} is missing; its default is {value}")),
                }
            }
            for key in example.keys().filter(|key| !defaults.contains_key(*key)) {
                faults.push(format!("{path}{key} is not a setting"));
            }
        }
        (defaults, example) => {
            // YAML gives 1 where the structure gives 1.0.
            let same = defaults == example || defaults.as_f64().is_some_and(|number| Some(number) == example.as_f64());
            if !same {
                faults.push(format!("{path} is {example} there, its default is {defaults}"));
            }
        }
    }
}

#[test]
fn every_format_version_is_documented() {
    let mut documents = String::new();
    for entry in fs::read_dir(root().join("docs/format")).into_iter().flatten().flatten() {
        documents.push_str(&fs::read_to_string(entry.path()).unwrap());
    }
    let mut missing = Vec::new();
    // A document names the file whose bytes it describes.
    for source in sources(&["src"]).into_iter().filter(|source| !documents.contains(&source.path)) {
        for (number, line) in source.code() {
            let Some((name, rest)) = line.split_once("const ").and_then(|(_, rest)| rest.split_once(": u")) else {
                continue;
            };
            if name.ends_with("VERSION") && rest.contains('=') {
                let fault = format!(
                    "{}:{number}: {name} is a format, and no file of docs/format names its source",
                    source.path
                );
                missing.push((source.path.clone(), fault));
            }
        }
    }
    assert_only_exceptions("format", &missing);
}
