//! The documents of a rule file, and the groups in them.
//!
//! Prometheus reads only the first document of a file, so whole folders have files with more. Files of Kubernetes
//! objects are read whole: each PrometheusRule, also inside a List; objects of other kinds are passed over.

use crate::base::yaml::{self, YamlError};
use crate::rules::file::shape::{FileText, GroupText, Head, ListText, ObjectText};

/// The groups of a file, and whether they came from Kubernetes objects.
pub(super) struct Groups {
    pub(super) groups: Vec<GroupText>,
    pub(super) is_kubernetes: bool,
}

/// Reads the groups of all documents that count.
pub(super) fn groups(file: &str, text: &str) -> Result<Groups, YamlError> {
    let mut all = Groups { groups: Vec::new(), is_kubernetes: false };
    for (index, document) in split(text).into_iter().enumerate() {
        if index > 0 && !all.is_kubernetes {
            break;
        }
        let head: Head = yaml::read_plain(file, &document).unwrap_or_default();
        let Some(kind) = head.kind.filter(|_| head.api_version.is_some()) else {
            // A document that is no object: its own faults are to be told.
            let read: FileText = yaml::read_plain(file, &document)?;
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
        let read = groups("k.yml", &text).unwrap();
        assert!(read.is_kubernetes);
        assert_eq!(read.groups.iter().map(|group| group.name.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        // Places are those of the file, not of the document.
        assert_eq!(read.groups[1].name.referenced.line(), 21);
    }

    #[test]
    fn a_list_of_objects_gives_the_groups_of_its_rules() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- kind: PrometheusRule\n  apiVersion: x\n  metadata: {name: a}\n  spec: {groups: [{name: a}]}\n- kind: ConfigMap\n  data: {a: b}\n- kind: ServiceMonitor\n  spec: {endpoints: []}\n";
        let names = |text: &str| groups("k.yml", text).unwrap().groups.len();
        assert_eq!(names(text), 1);
        assert_eq!(names("groups: [{name: a}]\n---\ngroups: [{name: b}]\n"), 1);
        assert!(groups("k.yml", "apiVersion: v1\nkind: PrometheusRule\nspec: {gruops: []}\n").is_err());
    }
}
