//! The files that Prometheus tests promtool and its own readers with: our checks and unit tests say what promtool says.
//!
//! Names tell what upstream expects: `*.bad.*` is refused. For unit tests it is what `unittest_test.go` wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/promtool").join(folder)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(corpus(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The exit code and what was said.
fn run(arguments: &[&str], file: &Path) -> (i32, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_novascope")).args(arguments).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    (ended.status.code().unwrap(), said)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Refused without saying so in their name.
const BAD_RULES: [&str; 1] = ["invalid_rules.yaml"];

#[test]
fn rule_files_have_promtools_verdict() {
    let mut differing = Vec::new();
    for path in files("rules") {
        let name = name(&path);
        // Annotations have had any name since 3.0; upstream refuses it only where legacy names are asked for.
        let is_legacy = name == "legacy_validation_annotation.bad.yaml";
        let is_bad = (name.contains(".bad.") && !is_legacy) || BAD_RULES.contains(&name.as_str());
        let (code, said) = run(&["check", "rules"], &path);
        if code != i32::from(is_bad) {
            differing.push(format!("{name}: {code}: {said}"));
        }
        // Every refusal says where.
        assert!(!is_bad || said.contains(&format!("{name}:")), "{said}");
    }
    assert_eq!(differing, Vec::<String>::new());
}

/// A test file, the tests of it that run, and the exit code.
const UNIT_TESTS: [(&str, &[&str], i32); 17] = [
    ("unittest.yml", &[], 0),
    ("long-period.yml", &[], 0),
    ("bad-input-series.yml", &[], 1),
    ("bad-promql.yml", &[], 1),
    ("bad-rules-syntax-test.yml", &[], 1),
    ("bad-rules-error-test.yml", &[], 1),
    ("failing.yml", &[], 1),
    ("at-modifier-test.yml", &[], 0),
    ("negative-offset-test.yml", &[], 0),
    ("no-test-group-interval.yml", &[], 0),
    ("start-time-test.yml", &[], 0),
    ("rules_run.yml", &[], 1),
    ("rules_run.yml", &["--run", "correct", "--run", "wrong"], 1),
    ("rules_run.yml", &["--run", "correct"], 0),
    ("rules_run_no_fuzzy.yml", &[], 1),
    ("rules_run_fuzzy.yml", &["--run", "correct"], 0),
    ("rules_run_fuzzy.yml", &["--run", "wrong"], 1),
];

#[test]
fn unit_tests_have_promtools_verdict() {
    for (file, chosen, expect) in UNIT_TESTS {
        let (code, said) = run(&[&["test", "rules"][..], chosen].concat(), &corpus("tests").join(file));
        assert_eq!(code, expect, "{file} {chosen:?}: {said}");
    }
}

/// What may be said of a good configuration that is refused: discovery that is not there, variables that are not set
/// (Prometheus puts nothing in their place), and rule files at places of other machines.
const REFUSALS: [&str; 3] =
    ["is not supported; supported are", "is not set; set it or write", "No such file or directory"];

/// Accepted here, refused by Prometheus. May only shrink. Sections for sending on have no effect here and are not looked
/// into.
const ACCEPTED: [&str; 18] = [
    "empty_rw_relabel_config.bad.yml",
    "empty_static_config.bad.yml",
    "otlp_allow_utf8.incompatible.yml",
    "otlp_no_translation.incompatible.yml",
    "remote_read_header.bad.yml",
    "remote_write_authorization_header.bad.yml",
    "remote_write_header.bad.yml",
    "remote_write_queue_capacity_zero.bad.yml",
    "remote_write_queue_max_backoff_less_than_min.bad.yml",
    "remote_write_queue_max_samples_per_send_zero.bad.yml",
    "remote_write_queue_max_shards_zero.bad.yml",
    "remote_write_queue_min_shards_greater_than_max.bad.yml",
    "remote_write_queue_min_shards_zero.bad.yml",
    "remote_write_wrong_msg.bad.yml",
    "scrape_body_size_limit.bad.yml",
    "scrape_config_files_glob.bad.yml",
    "tracing_invalid_authorization_header.bad.yml",
    "tracing_invalid_header.bad.yml",
];

#[test]
fn configurations_have_promtools_verdict() {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for path in files("config") {
        let name = name(&path);
        let (code, said) = run(&["check", "config"], &path);
        match (name.contains(".good."), code) {
            (true, 0) | (false, 1) => {}
            (true, _) if REFUSALS.iter().any(|known| said.contains(known)) => {}
            (true, _) => refused.push(format!("{name}: {said}")),
            (false, _) => accepted.push(name),
        }
    }
    assert_eq!(refused, Vec::<String>::new());
    assert_eq!(accepted, ACCEPTED);
}
