//! `novascope check data DIR`: reads every block and says what is damaged.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::base::disk::Disk;
use crate::cli::{complain, say};
use crate::storage::block::{Block, audit, check_manifest, open_all};

pub(super) fn run(folder: &Path) -> ExitCode {
    match check(folder) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            complain(&format!("{faults} faults found"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("cannot read {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// Answers how many faults there are.
fn check(folder: &Path) -> io::Result<usize> {
    let (disk, folder) = (Disk::real(), folder.join("blocks"));
    let opened = open_all(&disk, &folder)?;
    let blocks: Vec<&Block> = opened.iter().filter_map(|(_, block)| block.as_ref().ok()).collect();
    let mut faults = check_manifest(&disk, &folder, &blocks)?;
    for (path, block) in &opened {
        match block {
            Ok(block) => {
                let found = audit(block).faults;
                let verdict = if found.is_empty() { "good" } else { "DAMAGED" };
                say(&format!("{}: {verdict}, {} samples", path.display(), block.meta().samples));
                faults.extend(found);
            }
            Err(error) => faults.push(error.to_string()),
        }
    }
    faults.iter().for_each(|fault| complain(fault));
    Ok(faults.len())
}
