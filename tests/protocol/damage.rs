//! Damaged data folders: found, told, repaired, and answered from what is left.

use std::fs;
use std::path::{Path, PathBuf};

use novascope::base::clock::Clock;
use rustix::process::Signal;

use crate::daemon::{Daemon, Ended, data_folder, run_command};
use crate::remote_write::{body, send};

/// A folder with a block, and samples that only the log has. Answers how many samples there are.
fn fill(data: &Path) -> u64 {
    let mut daemon = Daemon::start(data, &["--self", "off"]);
    let now = Clock::real().now() / 1_000 * 1_000;
    (30..60).rev().for_each(|back| send(&daemon, &body(4, now - back * 1_000, back as f64)));
    assert_eq!(daemon.post("/api/v1/admin/tsdb/flush", &[], b"").status, 200);
    let start = (now - 59_000) / 1_000;
    let path = format!("/api/v1/admin/tsdb/delete_series?match[]=sent%7Bn%3D%220%22%7D&start={start}&end={start}");
    assert_eq!(daemon.post(&path, &[], b"").status, 204);
    (0..30).rev().for_each(|back| send(&daemon, &body(4, now - back * 1_000, back as f64)));
    daemon.signal(Signal::KILL);
    daemon.wait();
    239
}

fn run(command: &[&str], data: &Path) -> Ended {
    run_command(&[command, &[data.to_str().unwrap()]].concat())
}

fn file(folder: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found.pop().unwrap()
}

/// The first block that was made: of samples, as later ones may be of their windows.
fn first_block(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("blocks")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "block")).min().unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn count(daemon: &Daemon) -> u64 {
    let found = daemon.query("sum(count_over_time(sent[1h]))");
    found.first().map_or(0, |row| row["value"][1].as_str().unwrap().parse().unwrap())
}

/// Checks, repairs and checks again. Answers what the repair said.
#[track_caller]
fn repair(data: &Path) -> String {
    let checked = run(&["check"], data);
    assert_eq!(checked.status.code(), Some(1), "{}{}", checked.stdout, checked.stderr);
    let dry = run(&["repair", "--dry-run"], data);
    assert_eq!(dry.status.code(), Some(1), "{}{}", dry.stdout, dry.stderr);
    assert!(!data.join("quarantine").exists());
    let repaired = run(&["repair"], data);
    assert_eq!(repaired.status.code(), Some(0), "{}{}", repaired.stdout, repaired.stderr);
    let checked = run(&["check", "data"], data);
    assert_eq!(checked.status.code(), Some(0), "{}{}", checked.stdout, checked.stderr);
    repaired.stdout
}

#[test]
fn a_sound_folder_is_said_to_be_so() {
    let (_folder, data) = data_folder();
    let all = fill(&data);
    let checked = run(&["check"], &data);
    assert_eq!(checked.status.code(), Some(0), "{}{}", checked.stdout, checked.stderr);
    let repaired = run(&["repair"], &data);
    assert!(repaired.status.success() && repaired.stdout.contains("nothing is damaged"), "{}", repaired.stdout);
    assert_eq!(count(&Daemon::start(&data, &["--self", "off"])), all);
    let inspected = run(&["inspect"], &data);
    assert!(inspected.status.success() && inspected.stdout.contains("B/sample"), "{}", inspected.stdout);
    assert_eq!(run(&["check"], &data.join("wal")).status.code(), Some(1), "that is no data folder");
}

#[test]
fn a_damaged_page_costs_its_series_and_the_repair_names_them() {
    let (_folder, data) = data_folder();
    let all = fill(&data);
    flip(&first_block(&data), 30);
    {
        let daemon = Daemon::start(&data, &["--self", "off"]);
        let answer = daemon.get("/api/v1/query?query=count_over_time(sent%5B1h%5D)").json();
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("part of block 01") && warning.contains("checksum"), "{warning}");
        assert!(daemon.get("/metrics").text().contains("\nnovascope_block_pages_damaged 1\n"));
        let locked = run(&["repair"], &data);
        assert!(locked.stderr.contains("in use by another process"), "{}", locked.stderr);
    }
    let said = repair(&data);
    assert!(said.contains("lost: sent{n=\"1\"} from ") || said.contains("lost: {__name__=\"sent\""), "{said}");
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let left = count(&daemon);
    assert!(left >= all / 2 && left < all, "{left} of {all}");
    assert!(daemon.get("/api/v1/query?query=sent").json()["warnings"].is_null());
}

#[test]
fn a_damaged_index_costs_its_block() {
    let (_folder, data) = data_folder();
    let all = fill(&data);
    let path = first_block(&data);
    let len = fs::metadata(&path).unwrap().len() as usize;
    flip(&path, len - 20);
    let said = repair(&data);
    assert!(said.contains("lost: the whole block"), "{said}");
    assert!(count(&Daemon::start(&data, &["--self", "off"])) >= all / 2);
}

#[test]
fn what_is_there_twice_or_can_be_made_anew_costs_nothing() {
    for name in ["MANIFEST", "TOMBSTONES"] {
        let (_folder, data) = data_folder();
        let all = fill(&data);
        flip(&data.join("blocks").join(name), 25);
        repair(&data);
        assert_eq!(count(&Daemon::start(&data, &["--self", "off"])), all, "{name}");
    }
}

#[test]
fn a_damaged_frame_of_the_log_costs_its_request() {
    let (_folder, data) = data_folder();
    let all = fill(&data);
    let path = file(&data.join("wal"), ".wal");
    let len = fs::metadata(&path).unwrap().len() as usize;
    flip(&path, len / 2);
    let said = repair(&data);
    assert!(said.contains("are no frames") || said.contains("are missing"), "{said}");
    assert!(count(&Daemon::start(&data, &["--self", "off"])) >= all - 4);
}

#[test]
fn damaged_files_of_state_are_named_and_end_no_start() {
    let (folder, data) = data_folder();
    let all = fill(&data);
    let files = ["rules/alerts.json", "rules/namespaces.json", "notify.state"];
    fs::create_dir_all(data.join("rules")).unwrap();
    for name in files {
        fs::write(data.join(name), b"crc32c 00000000\n{\"version\":2}").unwrap();
    }
    let checked = run(&["check"], &data);
    assert_eq!(checked.status.code(), Some(1), "{}", checked.stdout);
    for name in files {
        assert!(checked.stderr.contains(&format!("{name}: ")), "{name}: {}", checked.stderr);
        assert!(checked.stdout.contains(&format!("{name}: DAMAGED")), "{name}: {}", checked.stdout);
    }
    let copy = folder.path().join("copy");
    fs::create_dir_all(copy.join("rules")).unwrap();
    fs::create_dir_all(copy.join("wal")).unwrap();
    for name in files {
        fs::copy(data.join(name), copy.join(name)).unwrap();
    }
    repair(&copy);
    let daemon = Daemon::start(&data, &["--self", "off"]);
    assert_eq!(count(&daemon), all);
    let metrics = daemon.get("/metrics").text();
    for name in ["rules/alerts.json", "notify.state"] {
        assert!(metrics.contains(&format!("novascope_state_files_damaged_total{{file=\"{name}\"}} 1\n")), "{metrics}");
        assert!(data.join(format!("{name}.damaged")).exists(), "{name} was set aside");
    }
}
