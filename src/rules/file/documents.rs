//! The documents of a rule file, and the groups in them.
//!
//! Prometheus reads only the first document of a file, so whole folders have files with more. Files of Kubernetes
//! objects are read whole: each PrometheusRule, also inside a List; objects of other kinds are passed over.

use serde_json::Value;

use crate::base::yaml::{self, YamlError};
use crate::rules::file::shape::{FileText, GroupText, Head, ListText, ObjectText};

/// The groups of a file, and whether they came from Kubernetes objects.
pub(super) struct Groups {
    pub(super) groups: Vec<GroupText>,
    pub(super) is_kubernetes: bool,
    /// Whether places are those of the text: not where keys were taken out.
    pub(super) has_places: bool,
}

/// Reads the groups of all documents that count.
pub(super) fn groups(file: &str, text: &str, is_lenient: bool) -> Result<Groups, YamlError> {
    let mut all = Groups { groups: Vec::new(), is_kubernetes: false, has_places: true };
    for (index, document) in split(text).into_iter().enumerate() {
        if index > 0 && !all.is_kubernetes {
            break;
        }
        let head: Head = yaml::read_plain(file, &document).unwrap_or_default();
        let Some(kind) = head.kind.filter(|_| head.api_version.is_some()) else {
            // A document that is no object: its own faults are to be told.
            let read: FileText = match yaml::read_plain(file, &document) {
                Err(error) if is_lenient && error.message.starts_with("unknown key") => {
                    all.has_places = false;
                    known(file, &document)?
                }
                read => read?,
            };
            all.groups.extend(read.groups.unwrap_or_default());
            continue;
        };
        all.is_kubernetes = true;
        match kind.as_str() {
            "PrometheusRule" => {
                let read: ObjectText = yaml::read_plain(file, &document)?;
                all.groups.extend(read.spec.groups.unwrap_or_default());
            }
            "List" | "PrometheusRuleList" => {
                let read: ListText = yaml::read_plain(file, &document)?;
                let is_rule = |kind: &Option<String>| kind.as_deref().is_none_or(|kind| kind == "PrometheusRule");
                for item in read.items.into_iter().flatten().filter(|item| is_rule(&item.kind)) {
                    all.groups.extend(item.spec.and_then(|spec| spec.groups).unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Keys of a group.
const GROUP_KEYS: [&str; 8] =
    ["name", "interval", "query_offset", "limit", "labels", "rules", "on_no_data", "partial_response_strategy"];

/// Keys of a rule.
const RULE_KEYS: [&str; 8] =
    ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations", "on_no_data"];

/// A document without the keys that are not known.
fn known(file: &str, document: &str) -> Result<FileText, YamlError> {
    let mut tree: Value = yaml::read_plain(file, document)?;
    let retain = |value: &mut Value, keys: &[&str]| {
        if let Value::Object(map) = value {
            map.retain(|key, _| keys.contains(&key.as_str()));
        }
    };
    retain(&mut tree, &["groups"]);
    for group in tree.get_mut("groups").and_then(Value::as_array_mut).into_iter().flatten() {
        retain(group, &GROUP_KEYS);
        for rule in group.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
            retain(rule, &RULE_KEYS);
        }
    }
    yaml::read_plain(file, &tree.to_string()).map_err(|error| YamlError::whole_file(file, error.message))
}

/// The documents that hold anything, each with as many empty lines in front as the file has, so that places stay right.
fn split(text: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let mut current = String::new();
    let mut has_content = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        if content == "---" || content == "..." {
            if has_content {
                documents.push(std::mem::take(&mut current));
            }
            current = "\n".repeat(number + 1);
            has_content = false;
            continue;
        }
        has_content |= !content.trim().is_empty() && !content.trim_start().starts_with('#');
        current.push_str(line);
    }
    if has_content {
        documents.push(current);
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_kubernetes_objects_is_read_whole() {
        let rule = |name: &str| {
            format!(
                "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{name: x}}\nspec:\n  groups:\n  - name: {name}\n    partial_response_strategy: warn\n    rules: [{{record: a, expr: '1'}}]\n"
            )
        };
        let monitor = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nspec: {endpoints: [{port: web}]}\n";
        let text = format!("{}---\n{monitor}---\n# only a comment\n---\n{}", rule("a"), rule("b"));
        let read = groups("k.yml", &text, false).unwrap();
        assert!(read.is_kubernetes);
        assert_eq!(read.groups.iter().map(|group| group.name.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        // Places are those of the file, not of the document.
        assert_eq!(read.groups[1].name.referenced.line(), 21);
    }

    #[test]
    fn a_list_of_objects_gives_the_groups_of_its_rules() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- kind: PrometheusRule\n  apiVersion: x\n  metadata: {name: a}\n  spec: {groups: [{name: a}]}\n- kind: ConfigMap\n  data: {a: b}\n- kind: ServiceMonitor\n  spec: {endpoints: []}\n";
        let names = |text: &str| groups("k.yml", text, false).unwrap().groups.len();
        assert_eq!(names(text), 1);
        assert_eq!(names("groups: [{name: a}]\n---\ngroups: [{name: b}]\n"), 1);
        assert!(groups("k.yml", "apiVersion: v1\nkind: PrometheusRule\nspec: {gruops: []}\n", false).is_err());
    }

    #[test]
    fn keys_that_are_not_known_are_passed_over_where_that_is_wanted() {
        let every = "groups: [{name: a, interval: 1s, query_offset: 1s, limit: 1, labels: {a: b}, on_no_data: keep, rules: [{alert: x, expr: '1', for: 1s, keep_firing_for: 1s, labels: {}, annotations: {}, on_no_data: keep}, {record: x, expr: '1'}], partial_response_strategy: warn}]";
        let strict = groups("k.yml", every, false).unwrap();
        let more = every.replace("name: a,", "name: a, owner: me,").replace("{alert", "{team: b, alert");
        let more = format!("{more}\nversion: 1\n");
        assert!(groups("k.yml", &more, false).is_err());
        let lenient = groups("k.yml", &more, true).unwrap();
        assert!(!lenient.has_places && groups("k.yml", every, true).unwrap().has_places);
        let without_places = |groups: &Groups| {
            let text = format!("{:?}", groups.groups);
            regex::Regex::new(r"Location \{[^}]*\}+").unwrap().replace_all(&text, "").into_owned()
        };
        assert_eq!(without_places(&lenient), without_places(&strict));
    }
}
