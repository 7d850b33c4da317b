//! `novascope restore SNAPSHOT --data DIR`: makes a data folder out of a snapshot, after verifying it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::base::disk::Disk;
use crate::cli::{check_data, complain, say};

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A folder that the snapshot API made, below `snapshots` of a data folder; or a copy of it.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The data folder to make; it must be missing or empty.
    #[arg(long, value_name = "DIR", default_value = "./novascope-data")]
    data: PathBuf,
}

/// Folders inside a snapshot are followed this deep.
const DEPTH_MAX: usize = 8;

impl Restore {
    pub(super) fn run(&self) -> ExitCode {
        match self.restore() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("cannot restore {} to {}: {error}", self.snapshot.display(), self.data.display()));
                ExitCode::FAILURE
            }
        }
    }

    fn restore(&self) -> io::Result<()> {
        let disk = Disk::real();
        sound(&self.snapshot)?;
        disk.create_dir_all(&self.data)?;
        if !disk.list(&self.data)?.is_empty() {
            return Err(io::Error::other(format!("{} is not empty", self.data.display())));
        }
        let files = copy(&disk, &self.snapshot, &self.data, 0)?;
        // What was read back may not be what was written: it is verified as well.
        sound(&self.data)?;
        say(&format!("{files} files restored and verified: start novascope with --data {}", self.data.display()));
        Ok(())
    }
}

fn sound(folder: &Path) -> io::Result<()> {
    let faults = check_data::faults_of(folder, |_| {})?;
    if faults.is_empty() {
        return Ok(());
    }
    faults.iter().for_each(|fault| complain(fault));
    Err(io::Error::other(format!("{} is damaged in {} places", folder.display(), faults.len())))
}

fn copy(disk: &Disk, from: &Path, to: &Path, depth: usize) -> io::Result<usize> {
    let mut files = 0;
    for entry in disk.list(from)? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            if depth >= DEPTH_MAX {
                return Err(io::Error::other(format!("{} is nested too deeply", source.display())));
            }
            disk.create_dir_all(&target)?;
            files += copy(disk, &source, &target, depth + 1)?;
        } else if !(depth == 0 && entry.name == "lock") {
            disk.copy(&source, &target)?;
            files += 1;
        }
    }
    disk.sync_dir(to)?;
    Ok(files)
}
