//! `novascope check DIR`: reads everything in a data folder and says what is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::base::disk::Disk;
use crate::cli::{complain, say};
use crate::metrics::{LogFile, audit_log};
use crate::notify::journal;
use crate::rules::{namespaces, snapshot};
use crate::storage::block::{Block, audit, check_manifest, check_tombstones, open_all};

pub(super) fn run(folder: &Path) -> ExitCode {
    match faults_of(folder, say) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| complain(fault));
            complain(&format!("{} faults found; `novascope repair --dry-run` says what they cost", faults.len()));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("cannot read {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// Verifies the log, the snapshot of columns, blocks, their index, manifest and deletions, and the state of rules, alerts
/// and notifications. What is good is told to
/// `tell`. Changes nothing.
pub(super) fn faults_of(folder: &Path, mut tell: impl FnMut(&str)) -> io::Result<Vec<String>> {
    let disk = Disk::real();
    if disk.list(folder)?.iter().all(|entry| !["wal", "blocks"].contains(&entry.name.as_str())) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is no data folder: it has no log and no blocks"));
    }
    let mut faults = Vec::new();
    for file in audit_log(&disk, &folder.join("wal"))?.files {
        tell(&describe(&file));
        faults.extend(file.faults.iter().map(|fault| format!("{}: {fault}", file.path.display())));
    }
    let blocks = folder.join("blocks");
    if disk.list(folder)?.iter().any(|entry| entry.name == "blocks") {
        faults.extend(block_faults(&disk, &blocks, &mut tell)?);
    }
    faults.extend(state_faults(&disk, folder, &mut tell));
    Ok(faults)
}

/// What files hold besides samples.
type Verify = fn(&[u8]) -> Result<String, String>;

/// Files of state, by their name in the folder.
const STATE: [(&str, Verify); 3] = [
    ("rules/alerts.json", snapshot::verify),
    ("rules/namespaces.json", namespaces::verify),
    ("notify.state", journal::verify),
];

/// A larger file is none of ours.
const STATE_BYTES_MAX: u64 = 4 << 30;

fn state_faults(disk: &Disk, folder: &Path, tell: impl FnMut(&str)) -> Vec<String> {
    damaged_state(disk, folder, tell).into_iter().map(|(path, fault)| format!("{}: {fault}", path.display())).collect()
}

/// Damaged files of state, with what is wrong; what is good is told.
pub(super) fn damaged_state(disk: &Disk, folder: &Path, mut tell: impl FnMut(&str)) -> Vec<(PathBuf, String)> {
    let mut faults = Vec::new();
    for (name, verify) in STATE {
        let path = folder.join(name);
        let found = match disk.read(&path, STATE_BYTES_MAX) {
            Ok(bytes) => verify(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(what) => tell(&format!("{}: good, {what}", path.display())),
            Err(fault) => {
                tell(&format!("{}: DAMAGED", path.display()));
                faults.push((path, fault));
            }
        }
    }
    faults
}

fn block_faults(disk: &Disk, folder: &Path, mut tell: impl FnMut(&str)) -> io::Result<Vec<String>> {
    let opened = open_all(disk, folder)?;
    let blocks: Vec<&Block> = opened.iter().filter_map(|(_, block)| block.as_ref().ok()).collect();
    let mut faults = check_manifest(disk, folder, &blocks);
    let (damaged, deletions) = check_tombstones(disk, folder);
    faults.extend(damaged);
    if deletions > 0 {
        tell(&format!("{}: {deletions} deletions wait for blocks to be rewritten", folder.display()));
    }
    for (path, block) in &opened {
        match block {
            Ok(block) => {
                let found = audit(block).faults;
                let verdict = if found.is_empty() { "good" } else { "DAMAGED" };
                tell(&format!("{}: {verdict}, {} samples", path.display(), block.meta().samples));
                faults.extend(found);
            }
            Err(error) => faults.push(error.to_string()),
        }
    }
    Ok(faults)
}

/// A line on a file of the log.
pub(super) fn describe(file: &LogFile) -> String {
    let verdict = if file.faults.is_empty() { "good" } else { "DAMAGED" };
    format!("{}: {verdict}, {} frames, {} samples, {} bytes", file.path.display(), file.frames, file.samples, file.len)
}
