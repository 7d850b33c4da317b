//! The live blocks: opening the folder, versions for readers, publishing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::base::clock::Millis;
use crate::base::disk::Disk;
use crate::base::rng::Rng;

use super::cache::Cache;
use super::format::Meta;
use super::manifest::{self, Found, Live};
use super::reader::{Block, BlockError};
use super::tombstones::{self, Deletion, Tombstone};
use super::ulid::Ulid;
use super::version::{Quarantined, Version};
use super::writer::BlockWriter;

const SUFFIX: &str = ".block";

/// The blocks of one data folder.
#[derive(Debug)]
pub struct Blocks {
    pub(super) disk: Disk,
    folder: PathBuf,
    cache: Arc<Cache>,
    rng: Rng,
    /// Files that could not be opened while nothing said what they hold.
    set_aside: u64,
    /// Earlier versions that readers may still hold. Locked while the manifest changes.
    past: Mutex<Vec<Weak<Version>>>,
    version: ArcSwap<Version>,
}

/// What was noticed when the folder was opened: for the log.
pub type Warnings = Vec<String>;

impl Blocks {
    /// Opens `folder`, which is made if need be. Damaged blocks are set aside and named, never an error.
    pub fn open(disk: Disk, folder: &Path, cache_bytes: usize, rng: Rng) -> io::Result<(Self, Warnings)> {
        disk.create_dir_all(folder)?;
        let cache = Arc::new(Cache::new(cache_bytes));
        let mut warnings = Vec::new();
        let files: Vec<Ulid> =
            disk.list(folder)?.iter().filter_map(|entry| Ulid::parse(entry.name.strip_suffix(SUFFIX)?)).collect();
        let mut spared = Vec::new();
        let (live, rewrite) = match manifest::read(&disk, folder) {
            Found::Nothing if files.is_empty() => (Vec::new(), true),
            Found::Whole(live) => (live, false),
            Found::Nothing | Found::Damaged(_) => {
                warnings.push("the manifest of blocks is damaged or missing: rebuilt from the block files".to_owned());
                (rebuild(&disk, folder, (files.as_slice(), &mut spared), &cache, &mut warnings), true)
            }
        };
        let (mut blocks, mut quarantined) = (Vec::new(), Vec::new());
        for Live { meta, len } in &live {
            match Block::open(&disk, &path_of(folder, meta.id), &cache) {
                Ok(block) if block.meta() == meta && block.len() == *len => blocks.push(Arc::new(block)),
                other => {
                    let reason = other.err().map_or("it is not what the manifest says".to_owned(), |e| e.to_string());
                    quarantined.push(Arc::new(Quarantined { meta: meta.clone(), len: *len, reason }));
                }
            }
        }
        warnings.extend(quarantined.iter().map(|block| block.note()));
        let graves = open_tombstones(&disk, folder, &live, &mut warnings);
        let version = ArcSwap::from_pointee(Version::new(blocks, quarantined, graves, 0));
        let (folder_own, past, set_aside) = (folder.to_owned(), Mutex::default(), spared.len() as u64);
        let shelf = Self { disk, folder: folder_own, cache, rng, set_aside, past, version };
        // A disk that takes no write is no reason not to start: the manifest is written with the next change of blocks.
        if rewrite && let Err(error) = manifest::write(&shelf.disk, folder, &live) {
            warnings.push(format!("cannot write the manifest of blocks: {error}"));
        }
        if let Err(error) = shelf.sweep(&live, &spared) {
            warnings.push(format!("cannot remove what an earlier run left: {error}"));
        }
        Ok((shelf, warnings))
    }

    /// Removes what a crash left behind: temporary files, and blocks that the manifest does not name.
    fn sweep(&self, live: &[Live], spared: &[Ulid]) -> io::Result<()> {
        for entry in self.disk.list(&self.folder)? {
            let id = entry.name.strip_suffix(SUFFIX).and_then(Ulid::parse);
            let leftover = match id {
                Some(id) => live.iter().all(|block| block.meta.id != id) && !spared.contains(&id),
                None => entry.name.ends_with(".tmp"),
            };
            if leftover && !entry.is_dir {
                self.disk.remove(&self.folder.join(&entry.name))?;
            }
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The live blocks. A reader keeps its version for as long as it reads.
    pub fn version(&self) -> Arc<Version> {
        self.version.load_full()
    }

    /// The sequence of the earliest version that somebody holds.
    pub fn oldest_reader(&self) -> u64 {
        let past = self.past.lock();
        let held = past.iter().filter_map(|version| version.upgrade().map(|version| version.sequence()));
        held.min().unwrap_or_else(|| self.version.load().sequence())
    }

    /// Files of blocks that the opening set aside, because neither they nor a manifest said what they hold.
    pub fn set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Bytes in the cache, its hits and its misses.
    pub fn cache_usage(&self) -> (usize, u64, u64) {
        self.cache.usage()
    }

    /// Starts a block file; it lives once it was published.
    pub fn writer(&self, now: Millis, level: u8, resolution: i64, sources: Vec<Ulid>) -> io::Result<BlockWriter> {
        let id = Ulid::new(now, &self.rng);
        let meta = Meta { id, level, resolution, min_time: 0, max_time: 0, series: 0, samples: 0, sources };
        BlockWriter::create(&self.disk, &self.folder, meta)
    }

    fn failed(&self, error: io::Error) -> BlockError {
        BlockError::Io { path: self.folder.display().to_string(), error }
    }

    fn replace(&self, past: &mut Vec<Weak<Version>>, old: &Arc<Version>, version: Version) {
        past.retain(|version| version.strong_count() > 0);
        past.push(Arc::downgrade(old));
        self.version.store(Arc::new(version));
    }

    /// Hides what is deleted in the blocks of now, durably. No merge may be under way: what it writes would not know.
    pub fn bury(&self, deletions: &[Deletion]) -> Result<(), BlockError> {
        let mut past = self.past.lock();
        let old = self.version();
        let mut tombstones = old.tombstones().to_vec();
        for deletion in deletions {
            let blocks = old.concerned(deletion);
            if !blocks.is_empty() {
                tombstones.push(Tombstone { deletion: Arc::new(deletion.clone()), blocks });
            }
        }
        if tombstones.len() == old.tombstones().len() {
            return Ok(());
        }
        tombstones::write(&self.disk, &self.folder, &tombstones).map_err(|error| self.failed(error))?;
        let version = Version::new(old.blocks().to_vec(), old.quarantined().to_vec(), tombstones, old.sequence() + 1);
        self.replace(&mut past, &old, version);
        Ok(())
    }

    /// Makes finished blocks live and takes others away, in one step. Files of removed blocks go; their readers keep
    /// what they have open. After an error nothing has changed for readers, but the manifest on disk may have: the
    /// same change can be tried again.
    pub fn publish(&self, added: &[(Meta, u64)], removed: &[Ulid]) -> Result<(), BlockError> {
        let mut past = self.past.lock();
        let old = self.version();
        let mut blocks = old.blocks().to_vec();
        let mut quarantined = old.quarantined().to_vec();
        blocks.retain(|block| !removed.contains(&block.meta().id));
        quarantined.retain(|block| !removed.contains(&block.meta.id));
        for (meta, _) in added {
            blocks.push(Arc::new(Block::open(&self.disk, &path_of(&self.folder, meta.id), &self.cache)?));
        }
        let tombstones = without(old.tombstones(), removed);
        let forgotten = tombstones != old.tombstones();
        let version = Version::new(blocks, quarantined, tombstones, old.sequence() + 1);
        let live: Vec<Live> = version.live().collect();
        manifest::write(&self.disk, &self.folder, &live).map_err(|error| self.failed(error))?;
        self.replace(&mut past, &old, version);
        for id in removed {
            self.cache.forget(*id);
            // Left behind, it is removed at the next opening: the manifest does not name it.
            let _ = self.disk.remove(&path_of(&self.folder, *id));
        }
        if forgotten && let Err(error) = self.forget_tombstones() {
            // Blocks that are gone stay named in it, which the next opening mends.
            tracing::warn!(%error, "cannot shorten the list of deletions");
        }
        Ok(())
    }

    /// Writes the deletions that are left, once the files that carried out others are gone for good: a file that comes
    /// back after a power cut, while the manifest is damaged, must not bring deleted samples back.
    fn forget_tombstones(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.folder)?;
        tombstones::write(&self.disk, &self.folder, self.version().tombstones())
    }
}

pub(super) fn path_of(folder: &Path, id: Ulid) -> PathBuf {
    folder.join(format!("{id}{SUFFIX}"))
}

/// Without blocks that are gone, and without deletions that no block has to carry out any more.
fn without(tombstones: &[Tombstone], removed: &[Ulid]) -> Vec<Tombstone> {
    let mut left = tombstones.to_vec();
    left.iter_mut().for_each(|tombstone| tombstone.blocks.retain(|id| !removed.contains(id)));
    left.retain(|tombstone| !tombstone.blocks.is_empty());
    left
}

/// The deletions of a folder that its live blocks have yet to carry out.
fn open_tombstones(disk: &Disk, folder: &Path, live: &[Live], warnings: &mut Warnings) -> Vec<Tombstone> {
    let found = tombstones::read(disk, folder);
    let named = found.tombstones.iter().flat_map(|tombstone| &tombstone.blocks);
    let gone: Vec<Ulid> = named.filter(|id| live.iter().all(|live| live.meta.id != **id)).copied().collect();
    let left = without(&found.tombstones, &gone);
    if let Some(fault) = found.fault {
        let lost = if found.tombstones.is_empty() { "; samples that were deleted may be visible again" } else { "" };
        warnings.push(format!("the list of deletions is damaged: {fault}{lost}"));
    }
    if (found.fault.is_some() || left != found.tombstones)
        && let Err(error) = tombstones::write(disk, folder, &left)
    {
        // A full disk is no reason not to start: what was read holds.
        warnings.push(format!("cannot write the list of deletions anew: {error}"));
    }
    left
}

/// Every block that opens, but for those that another one replaces. Files that do not open are added to those that are
/// to be left alone.
fn rebuild(
    disk: &Disk,
    folder: &Path,
    (files, spared): (&[Ulid], &mut Vec<Ulid>),
    cache: &Arc<Cache>,
    warnings: &mut Warnings,
) -> Vec<Live> {
    let mut live = Vec::new();
    for id in files {
        match Block::open(disk, &path_of(folder, *id), cache) {
            Ok(block) => live.push(Live { meta: block.meta().clone(), len: block.len() }),
            Err(error) => {
                // Kept under another name: nothing names it any more, and somebody may want to look at it.
                let path = path_of(folder, *id);
                let _ = disk.rename(&path, &path.with_extension("damaged"));
                spared.push(*id);
                warnings.push(error.to_string());
            }
        }
    }
    // Tier blocks name what they were made from, which stays.
    let raw = live.iter().filter(|block| block.meta.resolution == 0);
    let replaced: Vec<Ulid> = raw.flat_map(|block| block.meta.sources.iter().copied()).collect();
    live.retain(|block| !replaced.contains(&block.meta.id));
    live
}
