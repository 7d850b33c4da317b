//! The files that Prometheus tests promtool and its own readers with: our checks and unit tests say what promtool says.
//!
//! Files of our own are in `more`, with what promtool 3.14 said of each; where we say otherwise there is a reason.
//!
//! Names of upstream's files tell what it expects: `*.bad.*` is refused. For unit tests it is what `unittest_test.go` wants.

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
    assert_eq!(accepted, Vec::<String>::new());
}

/// A file of `more`, unpacked: the folder, and of each file whether promtool takes it.
fn unpacked(name: &str) -> (tempfile::TempDir, Vec<(String, bool)>) {
    let folder = tempfile::tempdir().unwrap();
    let mut known = Vec::new();
    let packed = fs::read_to_string(corpus("more").join(name)).unwrap();
    for part in packed.split("=== ").skip(1) {
        let (head, text) = part.split_once('\n').unwrap();
        let (file, verdict) = head.split_once(' ').unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        if verdict != "file" {
            known.push((file.to_owned(), verdict == "good"));
        }
    }
    (folder, known)
}

/// Asserts that files have promtool's verdicts but for those named, of which the reason is written.
fn compare(known: &[(String, bool)], ours: &dyn Fn(&str) -> bool, otherwise: &[(&str, &[&str])]) {
    let expected = otherwise.iter().flat_map(|(_, files)| files.iter());
    let mut expected: Vec<String> = expected.map(|file| format!("{file}.yml")).collect();
    expected.sort();
    let differing: Vec<&String> =
        known.iter().filter(|(file, is_good)| ours(file) != *is_good).map(|(file, _)| file).collect();
    assert_eq!(differing, expected.iter().collect::<Vec<_>>());
}

/// Verdicts of one run over all files.
fn verdicts(folder: &Path, what: &str, known: &[(String, bool)]) -> std::collections::BTreeMap<String, bool> {
    let files = known.iter().map(|(file, _)| file);
    let mut command = Command::new(env!("CARGO_BIN_EXE_novascope"));
    let ended = command.current_dir(folder).args(["check", what, "--format", "json"]).args(files).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let rows = told["files"].as_array().unwrap().iter();
    rows.map(|row| (row["file"].as_str().unwrap().to_owned(), row["ok"] == true)).collect()
}

#[test]
fn more_rule_files_have_promtools_verdict() {
    let (folder, known) = unpacked("rules.txt");
    let ours = verdicts(folder.path(), "rules", &known);
    compare(
        &known,
        &|file| ours[file],
        &[
            (
                "ours: what becomes of alerts whose data are gone, and objects of Kubernetes",
                &["grp_nodata", "r_nodata", "k8s"],
            ),
            (
                "on here without a flag: experimental functions and modifiers",
                &[
                    "r_expranch",
                    "r_exprexp",
                    "r_exprfill",
                    "r_exprhist",
                    "r_exprinfo",
                    "r_exprlimitk",
                    "r_exprmad",
                    "r_exprsmooth",
                    "r_exprts",
                ],
            ),
            ("its documentation has the function tmpl", &["r_annargs3"]),
            ("would fail each time that the alert fires", &["r_annassign2"]),
            (
                "hardly meant: nothing where something belongs, parts of a number",
                &["grp_labnull", "grp_limfloat", "nullgroup", "nullrule", "r_labnull"],
            ),
        ],
    );
}

#[test]
fn more_configurations_have_promtools_verdict() {
    let (folder, known) = unpacked("config.txt");
    let ours = verdicts(folder.path(), "config", &known);
    compare(
        &known,
        &|file| ours[file],
        &[
            (
                "could not be sent or asked: other schemes, signatures of AWS",
                &["am_scheme_bad", "am_sigv4", "sc_scheme", "sc_scheme_up"],
            ),
            ("nothing would ever be read or sent in no time", &["am_timeout0", "sc_fsd_ref0", "sc_hsd_ref0"]),
            ("scrapes more often than every 100 ms", &["sc_fast"]),
            ("a variable that is not set (decision 2)", &["dollar_unset"]),
            ("a file that is named without a star and is not there", &["scf_missing"]),
            ("an endpoint is a host and a port; a share is at most 1", &["tr_frac", "tr_scheme"]),
            ("targets that are no host with a port", &["st_noport"]),
            ("ways of asking for a token that there are not here", &["rw_oauth_jwt"]),
            (
                "hardly meant: sizes below nothing, nothing where a value belongs, odd spellings",
                &["glob_body_neg", "glob_esc_bad_nojobs", "glob_ext_null", "sc_dsd_mixed", "sc_dsd_portbig", "twodocs"],
            ),
            ("numbers and yes or no in quotes are read", &["glob_bool_str", "glob_limit_str"]),
        ],
    );
}

#[test]
fn more_unit_tests_have_promtools_verdict() {
    let (folder, known) = unpacked("tests.txt");
    let results = folder.path().join("junit.xml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_novascope"));
    command.current_dir(folder.path()).args(["test", "--junit", "junit.xml", "rules"]);
    command.args(known.iter().map(|(file, _)| file)).output().unwrap();
    let results = fs::read_to_string(results).unwrap();
    let is_good = |file: &str| {
        let suite = results.split("<testsuite ").find(|suite| suite.starts_with(&format!("name=\"{file}\""))).unwrap();
        suite.contains(" failures=\"0\" errors=\"0\"")
    };
    compare(
        &known,
        &is_good,
        &[
            ("on here without a flag: experimental functions", &["t_e_exp"]),
            ("infinity as promtool's series have it", &["t_e_inf"]),
            ("a second document, which nobody would read", &["t_twodocs"]),
        ],
    );
}

/// Arguments of `check`, a file of `more`, and promtool's exit code.
const FLAGS: [(&str, &str, i32); 36] = [
    ("rules", "duprules", 0),
    ("rules --lint-fatal", "duprules", 3),
    ("rules --lint-fatal", "duprules_glab", 3),
    ("rules --lint-fatal", "r_badexpr", 1),
    ("rules --lint none --lint-fatal", "duprules", 0),
    ("rules --lint all --lint-fatal", "duprules", 3),
    ("rules --lint foo --lint-fatal", "duprules", 0),
    ("rules --lint all,none --lint-fatal", "duprules", 3),
    ("rules --lint too-long-scrape-interval --lint-fatal", "duprules", 0),
    ("rules --lint=none", "r_badexpr", 1),
    ("rules --ignore-unknown-fields", "r_unk", 0),
    ("rules --ignore-unknown-fields", "r_badexpr", 1),
    ("config", "lint_both", 0),
    ("config --lint-fatal", "lint_both", 3),
    ("config --lint-fatal", "lint_scrape", 0),
    ("config --lint all --lint-fatal", "lint_scrape", 3),
    ("config --lint too-long-scrape-interval --lint-fatal", "lint_scrape", 3),
    ("config --lint duplicate-rules --lint-fatal", "lint_scrape", 0),
    ("config --lint all,none --lint-fatal", "lint_both", 0),
    ("config --lint all --lint-fatal --query.lookback-delta 20m", "lint_scrape", 0),
    ("config --syntax-only --lint all --lint-fatal", "lint_both", 0),
    ("config --lint-fatal", "rf_dup2", 0),
    ("config --agent", "agent_rf", 1),
    ("config --agent", "agent_rr", 1),
    ("config --agent", "agent_rw", 0),
    ("config --syntax-only", "rf_missing", 0),
    ("config --syntax-only", "rf_bad", 0),
    ("config --syntax-only", "sc_cred_missing", 0),
    ("config --syntax-only", "sc_fsd_bad", 0),
    ("config --syntax-only", "scf_bad", 0),
    ("config --syntax-only", "sc_cert_half", 1),
    ("config --syntax-only", "rw_unk", 1),
    ("config --ignore-unknown-fields", "rf_unknown", 0),
    ("config --ignore-unknown-fields", "rf_bad", 1),
    ("config --ignore-unknown-fields", "rw_unk", 1),
    ("config", "rf_unknown", 1),
];

#[test]
fn flags_have_promtools_exit_codes() {
    let (configs, _) = unpacked("config.txt");
    let (rules, _) = unpacked("rules.txt");
    let slow = "global: {scrape_interval: 10m}\nscrape_configs: [{job_name: a}]\n";
    fs::write(configs.path().join("lint_scrape.yml"), slow).unwrap();
    fs::write(configs.path().join("lint_both.yml"), format!("rule_files: [r_dup.yml]\n{slow}")).unwrap();
    for (arguments, file, expect) in FLAGS {
        let folder = if arguments.starts_with("rules") { &rules } else { &configs };
        let arguments: Vec<&str> = std::iter::once("check").chain(arguments.split(' ')).collect();
        let (code, said) = run(&arguments, &folder.path().join(format!("{file}.yml")));
        assert_eq!(code, expect, "{arguments:?} {file}: {said}");
    }
}

#[test]
fn unit_tests_tell_what_is_wanted() {
    let (folder, _) = unpacked("tests.txt");
    let path = |file: &str| folder.path().join(file);
    let (code, said) = run(&["test", "rules", "--diff"], &path("t_a_wrong.yml"));
    assert_eq!(code, 1);
    let labels = |severity: &str| format!("Labels:{{alertname=\"Down\", job=\"a\", severity=\"{severity}\", v=\"0\"}}");
    for line in [format!("\n-              {}", labels("warn")), format!("\n+              {}", labels("page"))] {
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    let (code, said) = run(&["test", "rules", "--debug"], &path("t_e_ok.yml"));
    assert_eq!(code, 0);
    for line in
        ["DEBUG: Starting test unnamed#0", "o:two{job=\"a\"} =>", "2 @[60000]", "DEBUG: Test unnamed#0 finished, took"]
    {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    assert_eq!(run(&["test", "rules"], &path("t_unkrules.yml")).0, 1);
    assert_eq!(run(&["test", "rules", "--ignore-unknown-fields"], &path("t_unkrules.yml")).0, 0);
}
