//! Runs the PromQL scripts of `tests/corpora/promqltest` against the evaluator over an in-memory source.
//!
//! The language of the scripts stands in the README beside them. Besides what they say, an instant query must give the
//! same in the middle of a range query, and the same at other times when all its selectors are pinned with `@`.
//!
//! `failing.txt` beside the scripts lists cases that are known to fail, as `file:line`. It may only shrink: a case that
//! passes but is listed fails the test too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answer;
mod compare;
#[allow(dead_code, reason = "the tests of protocols use all of it")]
#[path = "../protocol/daemon.rs"]
mod daemon;
mod differential;
mod export;
mod found;
mod generate;
#[allow(dead_code, reason = "the tests of protocols use all of it")]
#[path = "../protocol/http.rs"]
mod http;
mod load;
mod pin;
mod property;
mod run;
mod script;
mod series;
mod servers;
mod sharing;
mod store;
mod writer;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn promql_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/promqltest");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", folder.display());
    let known: BTreeSet<String> = fs::read_to_string(folder.join("failing.txt"))
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let only = std::env::var("PROMQLTEST").unwrap_or_default();
    let (mut cases, mut failing, mut surprises) = (0, BTreeSet::new(), String::new());
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable script");
        for (line, outcome) in run::file(&text) {
            cases += 1;
            let case = format!("{name}:{line}");
            if let Err(error) = outcome {
                if !known.contains(&case) {
                    surprises.push_str(&format!("{case}: {error}\n"));
                }
                failing.insert(case);
            }
        }
    }
    println!("{} of {cases} cases pass", cases - failing.len());
    if only.is_empty() {
        for case in known.difference(&failing) {
            surprises.push_str(&format!("{case} passes but is listed in failing.txt\n"));
        }
    }
    assert!(surprises.is_empty(), "{} of {cases} cases pass\n{surprises}", cases - failing.len());
}

/// A harness that lets everything pass would not be noticed otherwise.
#[test]
fn wrong_expectations_fail() {
    let load = "load 1m\n  m_total{a=\"x\"} 0+60x5\n  h {{count:2 sum:3 buckets:[1 1]}}\n\n";
    let right = [
        "eval instant at 5m rate(m_total[5m])\n  {a=\"x\"} 1\n",
        "eval instant at 0m h\n  h {{count:2 sum:3 buckets:[1 1]}}\n",
        "eval instant at 5m m_total == 1\n",
        "eval instant at 5m vector(m_total)\n  expect fail\n",
        "eval instant at 5m sort(m_total)\n  expect no_warn\n  m_total{a=\"x\"} 300\n",
    ];
    let wrong = [
        "eval instant at 5m rate(m_total[5m])\n  {a=\"x\"} 1.00001\n",
        "eval instant at 5m rate(m_total[5m])\n  {a=\"y\"} 1\n",
        "eval instant at 5m rate(m_total[5m])\n  {a=\"x\"} 1\n  {a=\"y\"} 1\n",
        "eval instant at 5m rate(m_total[5m])\n  expect warn\n  {a=\"x\"} 1\n",
        "eval instant at 0m h\n  h {{count:2 sum:3 buckets:[1 0 1]}}\n",
        "eval range from 0 to 2m step 1m m_total\n  m_total{a=\"x\"} 0 60 _\n",
        "eval instant at 5m m_total\n  expect fail\n",
        "eval instant at 5m vector(m_total)\n",
    ];
    for (cases, passes) in [(&right[..], true), (&wrong[..], false)] {
        for case in cases {
            let outcome = run::file(&format!("{load}{case}"));
            assert_eq!(outcome[0].1.is_ok(), passes, "{case}{:?}", outcome[0].1);
        }
    }
}
