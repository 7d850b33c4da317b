//! `novascope repair DIR`: takes damaged units out of a data folder, and says exactly what is lost with them.
//!
//! Originals of whatever is changed or removed are kept below `quarantine`. The daemon must not run on the folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::cli::{check_data, complain, say};
use crate::metrics::{LogFile, audit_log, good_frames};
use crate::notify::journal;
use crate::storage::block::{Block, Blocks, Loss, audit, check_manifest, check_tombstones, losses, open_all};
use crate::storage::lock::FolderLock;

#[derive(Debug, Args)]
pub(super) struct Repair {
    #[arg(value_name = "DIR", default_value = "./novascope-data")]
    folder: PathBuf,
    /// Only say what would be done and what would be lost.
    #[arg(long)]
    dry_run: bool,
}

type Failed = Box<dyn std::error::Error>;

/// A folder that is being repaired.
struct Bench<'a> {
    disk: Disk,
    folder: &'a Path,
    dry_run: bool,
    damaged: usize,
}

impl Repair {
    pub(super) fn run(&self) -> ExitCode {
        let mut bench = Bench { disk: Disk::real(), folder: &self.folder, dry_run: self.dry_run, damaged: 0 };
        let done = bench.repair();
        match done {
            Ok(()) if bench.damaged == 0 => {
                say(&format!("{}: nothing is damaged", self.folder.display()));
                ExitCode::SUCCESS
            }
            // As of a check: what is not repaired is a fault.
            Ok(()) if self.dry_run => {
                say(&format!("{} damaged units would be taken out; nothing was changed", bench.damaged));
                ExitCode::FAILURE
            }
            Ok(()) => {
                let kept = self.folder.join("quarantine");
                say(&format!(
                    "{} damaged units were taken out; the originals are in {}",
                    bench.damaged,
                    kept.display()
                ));
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&format!("cannot repair {}: {error}", self.folder.display()));
                ExitCode::FAILURE
            }
        }
    }
}

impl Bench<'_> {
    fn repair(&mut self) -> Result<(), Failed> {
        self.disk.list(self.folder)?;
        let _lock = if self.dry_run {
            None
        } else {
            let lock = FolderLock::take(&self.disk, self.folder)?;
            Some(lock.ok_or("it is in use by another process: stop that first")?)
        };
        for file in audit_log(&self.disk, &self.folder.join("wal"))?.files.iter().filter(|f| !f.faults.is_empty()) {
            self.repair_log(file)?;
        }
        let blocks = self.folder.join("blocks");
        if self.disk.list(self.folder)?.iter().any(|entry| entry.name == "blocks") {
            self.repair_blocks(&blocks)?;
        }
        self.repair_state()
    }

    fn repair_state(&mut self) -> Result<(), Failed> {
        for (path, fault) in check_data::damaged_state(&self.disk, self.folder, |_| {}) {
            self.damaged += 1;
            say(&format!("{}: {fault}", path.display()));
            if self.dry_run {
                continue;
            }
            let bytes = self.disk.read(&path, u64::MAX).unwrap_or_default();
            self.set_aside(&path)?;
            // Each line of it stands for itself; the others are one text.
            if path.ends_with("notify.state") {
                self.disk.publish(&path, &journal::whole(&bytes))?;
            } else {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    fn repair_log(&mut self, file: &LogFile) -> Result<(), Failed> {
        self.damaged += 1;
        say(&format!("{}: damaged", file.path.display()));
        file.faults.iter().for_each(|fault| say(&format!("  lost: {fault}")));
        let (from, to) = file.bounds.unwrap_or_default();
        say(&format!("  kept: {} frames, {} samples of {from} to {to} ms", file.frames, file.samples));
        if self.dry_run {
            return Ok(());
        }
        let good = good_frames(&self.disk, &self.folder.join("wal"), &file.path)?;
        self.set_aside(&file.path)?;
        Ok(self.disk.publish(&file.path, &good)?)
    }

    fn repair_blocks(&mut self, folder: &Path) -> Result<(), Failed> {
        let opened = open_all(&self.disk, folder)?;
        let readable: Vec<&Block> = opened.iter().filter_map(|(_, block)| block.as_ref().ok()).collect();
        for fault in
            check_manifest(&self.disk, folder, &readable).into_iter().chain(check_tombstones(&self.disk, folder).0)
        {
            self.damaged += 1;
            say(&format!("{}: {fault}", folder.display()));
        }
        let mut damaged = Vec::new();
        for (path, block) in &opened {
            match block {
                Err(error) => {
                    self.damaged += 1;
                    say(&format!("{error}\n  lost: the whole block"));
                    damaged.push(path.clone());
                }
                Ok(block) if audit(block).faults.is_empty() => {}
                Ok(block) => {
                    self.damaged += 1;
                    tell_losses(path, block);
                    damaged.push(path.clone());
                }
            }
        }
        // A block whose file is gone or is another one is only in the manifest: opening the folder names it.
        if self.dry_run || self.damaged == 0 {
            return Ok(());
        }
        for path in &damaged {
            self.set_aside(path)?;
        }
        for name in ["MANIFEST", "TOMBSTONES"] {
            self.set_aside(&folder.join(name))?;
        }
        self.rewrite(folder)
    }

    /// Opens the folder, which makes the manifest anew if need be, and replaces what is damaged.
    fn rewrite(&self, folder: &Path) -> Result<(), Failed> {
        let (blocks, warnings) = Blocks::open(self.disk.clone(), folder, 0, Rng::from_os())?;
        warnings.iter().for_each(|warning| say(warning));
        let version = blocks.version();
        for gone in version.quarantined() {
            say(&format!("  lost: {} series, {} samples: {}", gone.meta.series, gone.meta.samples, gone.note()));
            blocks.give_up(&gone.meta)?;
        }
        for block in version.blocks().iter().filter(|block| !audit(block).faults.is_empty()) {
            self.replace(&blocks, block)?;
        }
        Ok(())
    }

    fn replace(&self, blocks: &Blocks, block: &Arc<Block>) -> Result<(), Failed> {
        let id = block.meta().id;
        match blocks.salvage(block, Clock::real().now()) {
            Ok(Some(meta)) => say(&format!("block {id} is replaced by {}, with {} samples", meta.id, meta.samples)),
            Ok(None) => say(&format!("block {id} is removed: nothing in it can be read")),
            Err(error) => {
                say(&format!("block {id} is removed: {error}"));
                blocks.give_up(block.meta())?;
            }
        }
        Ok(())
    }

    /// Keeps a copy of a file that is about to change.
    fn set_aside(&self, path: &Path) -> Result<(), Failed> {
        let folder = self.folder.join("quarantine");
        self.disk.create_dir_all(&folder)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let taken = self.disk.list(&folder)?;
        let free = |candidate: &String| taken.iter().all(|entry| entry.name != *candidate);
        let mut names = std::iter::once(name.clone()).chain((1..).map(|number| format!("{name}.{number}")));
        let target = names.find(free).unwrap_or(name);
        match self.disk.link(path, &folder.join(target)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => Ok(other.and_then(|()| self.disk.sync_dir(&folder))?),
        }
    }
}

fn tell_losses(path: &Path, block: &Block) {
    let meta = block.meta();
    say(&format!("{}: damaged", path.display()));
    match losses(block) {
        Ok(lost) => lost.iter().for_each(|Loss { labels, first, last }| {
            say(&format!("  lost: {labels} from {first} to {last} ms"));
        }),
        Err(error) => say(&format!(
            "  lost: the whole block, {} series, {} samples of {} to {} ms: {error}",
            meta.series, meta.samples, meta.min_time, meta.max_time
        )),
    }
}
