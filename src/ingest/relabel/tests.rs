//! Rules as YAML over labels as pairs: one door.

use super::*;
use crate::model::labels::Labels;

fn rules(yaml: &str) -> Result<Arc<[Rule]>, String> {
    let configs: Vec<RuleConfig> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    compile(&configs, NameValidation::Utf8).map_err(|(_, error)| error.to_string())
}

/// The labels after the rules, or "dropped".
fn relabelled(labels: &[(&str, &str)], yaml: &str) -> String {
    let mut builder = Labels::from_pairs(labels.iter().copied()).to_builder();
    if process(&rules(yaml).unwrap(), &mut builder) { builder.build().to_string() } else { "dropped".to_owned() }
}

const FOO: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn expressions_are_those_of_go() {
    for (yaml, expected) in [
        // Go knows no set algebra: `&&` in brackets are two characters.
        (
            "[{source_labels: [a], regex: '[f&&o]+', target_label: d, replacement: x}]",
            r#"{a="foo", b="bar", c="baz", d="x"}"#,
        ),
        (r"[{source_labels: [a], regex: '\Qfoo\E', action: drop}]", "dropped"),
        (
            "[{source_labels: [a], regex: 'f(?P<rest>.*)', target_label: d, replacement: '${rest}$$'}]",
            r#"{a="foo", b="bar", c="baz", d="oo$"}"#,
        ),
    ] {
        assert_eq!(relabelled(FOO, yaml), expected, "{yaml}");
    }
}

#[test]
fn every_action() {
    for (yaml, expected) in [
        (
            "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}]",
            r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#,
        ),
        (
            "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}]",
            r#"{a="boobam", b="bar", c="baz"}"#,
        ),
        ("[{source_labels: [a], regex: '.*o.*', action: DROP}]", "dropped"),
        ("[{source_labels: [a], regex: 'o', action: drop}]", r#"{a="foo", b="bar", c="baz"}"#),
        ("[{source_labels: [a], regex: 'no', action: keep}]", "dropped"),
        ("[{source_labels: [a], regex: 'f.*', action: keep}]", r#"{a="foo", b="bar", c="baz"}"#),
        ("[{source_labels: [a], target_label: b, action: keepequal}]", "dropped"),
        ("[{source_labels: [a], target_label: a, action: dropequal}]", "dropped"),
        (
            "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
            r#"{a="foo", b="bar", c="baz", d="976"}"#,
        ),
        (
            "[{source_labels: [a, b], target_label: d, action: hashmod, separator: '', modulus: 1000}]",
            r#"{a="foo", b="bar", c="baz", d="783"}"#,
        ),
        (
            "[{action: labelmap, regex: '(b.*|c)', replacement: 'x_$1'}]",
            r#"{a="foo", b="bar", c="baz", x_b="bar", x_c="baz"}"#,
        ),
        ("[{action: labeldrop, regex: '(b.*)'}]", r#"{a="foo", c="baz"}"#),
        ("[{action: labelkeep, regex: '(b.*)'}]", r#"{b="bar"}"#),
        ("[{source_labels: [a], target_label: A, action: uppercase}]", r#"{A="FOO", a="foo", b="bar", c="baz"}"#),
        ("[{source_labels: [a], regex: 'f(.*)', target_label: a, replacement: ''}]", r#"{b="bar", c="baz"}"#),
        ("[{target_label: d, replacement: constant}]", r#"{a="foo", b="bar", c="baz", d="constant"}"#),
        (
            "[{source_labels: [a], regex: '(f).*', target_label: '${1}oo', replacement: '$1$$'}]",
            r#"{a="foo", b="bar", c="baz", foo="f$"}"#,
        ),
        ("[{source_labels: [a], regex: 'x', target_label: a, replacement: y}]", r#"{a="foo", b="bar", c="baz"}"#),
        ("[{source_labels: [none], target_label: a}]", r#"{b="bar", c="baz"}"#),
    ] {
        assert_eq!(relabelled(FOO, yaml), expected, "{yaml}");
    }
}

#[test]
fn rules_that_cannot_work_say_why() {
    for (yaml, expected) in [
        ("[{action: frob}]", "unknown relabel action \"frob\""),
        (
            "[{source_labels: [a], action: replace}]",
            "relabel configuration for replace action requires 'target_label' value",
        ),
        ("[{source_labels: [a], target_label: b, action: hashmod}]", "requires non-zero modulus"),
        ("[{source_labels: [a], target_label: b, action: keepequal, regex: x}]", "requires only 'source_labels'"),
        ("[{action: labeldrop, regex: x, source_labels: [a]}]", "requires only 'regex'"),
        ("[{source_labels: [a], target_label: b, action: lowercase, replacement: x}]", "'replacement' can not be set"),
        ("[{source_labels: [a], target_label: b, regex: '('}]", "invalid regex \"(\""),
        ("[{sourcelabels: [a]}]", "sourcelabels"),
    ] {
        let error = rules(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
    let legacy = RuleConfig { target_label: Some("a.b".to_owned()), ..RuleConfig::default() };
    assert!(legacy.compile(NameValidation::Legacy).is_err());
    assert!(legacy.compile(NameValidation::Utf8).is_ok());
}
