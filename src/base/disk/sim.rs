//! A disk in memory that forgets what a real one may forget.
//!
//! Reads see what was written. A power cut keeps of each unsynced write any of its sectors, and of each unsynced name
//! any, in any order; a kill keeps everything. A sync that fails leaves its file as if each of the writes had been
//! thrown away or kept by chance, and the next sync then succeeds without writing them: as kernels do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::rng::Rng;

use super::torn::{Inode, NameChange, Write};
use super::{Entry, Space};

/// What goes wrong. All of it is off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Calls that change something until the machine stops; the last of them may be done in part.
    pub crash_after: Option<u64>,
    /// Chances of a sync or a write that fails.
    pub sync_error: f64,
    pub write_error: f64,
    /// Chances of a name that cannot be changed (created, renamed, removed) and of a file that cannot be read or opened.
    pub name_error: f64,
    pub read_error: f64,
    /// Bytes that all files may have together.
    pub capacity: Option<u64>,
    /// Bugs of a disk or of its caller, for tests of tests: syncs that do nothing and say they did.
    pub sync_lies: bool,
    pub sync_dir_lies: bool,
    /// Names are durable at once, and syncs of temporary files come true with the next sync of a folder.
    pub rename_first: bool,
}

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; what it wrote stays.
    Process,
    /// The machine ends; what was not synced stays in part.
    Power,
}

/// The disk behind `Disk::Simulated`.
#[derive(Debug)]
pub struct SimDisk {
    pub(super) rng: Rng,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    folders: BTreeSet<PathBuf>,
    /// What programs see.
    pub(super) names: BTreeMap<PathBuf, u64>,
    /// What a power cut leaves for sure.
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    pub(super) files: HashMap<u64, Inode>,
    next_inode: u64,
    locked: BTreeSet<PathBuf>,
    /// Files whose sync is put off by `Faults::rename_first`.
    deferred: Vec<u64>,
    /// Counts restarts: what was opened before the last is dead.
    life: u64,
    crashed: bool,
    faults: Faults,
    /// Calls that changed something since the last restart.
    calls: u64,
}

impl SimDisk {
    pub(super) fn new(rng: Rng) -> Arc<Self> {
        Arc::new(Self { rng, state: Mutex::default() })
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        state.calls = 0;
        state.faults = faults;
    }

    /// Whether the machine has stopped: every call fails until `restart`.
    pub fn is_crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// Calls that changed something since the faults were set.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Stops the machine, if it still runs, and starts it again without faults.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.life += 1;
        state.crashed = false;
        state.faults = Faults::default();
        state.calls = 0;
        state.locked.clear();
        state.deferred.clear();
        let pending = std::mem::take(&mut state.pending_names);
        match crash {
            Crash::Process => state.pending_names = pending,
            Crash::Power => {
                for change in pending.iter().filter(|_| self.rng.chance(0.5)) {
                    change.apply(&mut state.durable_names);
                }
                state.names.clone_from(&state.durable_names);
                for inode in state.files.values_mut() {
                    for write in std::mem::take(&mut inode.pending) {
                        write.apply_torn(&self.rng, &mut inode.durable);
                    }
                    inode.seen.clone_from(&inode.durable);
                }
            }
        }
        let live: BTreeSet<u64> = state.names.values().chain(state.durable_names.values()).copied().collect();
        state.files.retain(|inode, _| live.contains(inode));
    }

    /// Counts a call that changes something. `Err` where the machine stops at it.
    fn change(&self, state: &mut State) -> io::Result<()> {
        if state.crashed {
            return Err(stopped());
        }
        state.calls += 1;
        if state.faults.crash_after.is_some_and(|after| state.calls > after) {
            state.crashed = true;
            return Err(stopped());
        }
        Ok(())
    }

    /// The same for a change of a name, which may fail by itself.
    fn change_name(&self, state: &mut State) -> io::Result<()> {
        self.change(state)?;
        if self.rng.chance(state.faults.name_error) { Err(failed("a name")) } else { Ok(()) }
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.change(&mut state)?;
        // Folders are durable at once: the store makes them once, before anything is acknowledged.
        state.folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state.lock();
        if state.crashed {
            return Err(stopped());
        }
        if !state.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let inside = |candidate: &&PathBuf| candidate.parent() == Some(path);
        let folders = state.folders.iter().filter(inside);
        let mut entries: Vec<Entry> =
            folders.filter_map(|path| Some(Entry { name: name(path)?, is_dir: true, len: 0 })).collect();
        for (path, inode) in state.names.iter().filter(|(candidate, _)| inside(candidate)) {
            let len = state.files.get(inode).map_or(0, |file| file.seen.len() as u64);
            entries.extend(name(path).map(|name| Entry { name, is_dir: false, len }));
        }
        Ok(entries)
    }

    pub(super) fn create_new(self: &Arc<Self>, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state.lock();
        self.change_name(&mut state)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.next_inode += 1;
        let inode = state.next_inode;
        state.files.insert(inode, Inode::default());
        state.name(NameChange::Create { path: path.to_owned(), inode });
        Ok(SimFile { disk: Arc::clone(self), inode, life: state.life })
    }

    pub(super) fn open(self: &Arc<Self>, path: &Path) -> io::Result<SimFile> {
        let state = self.state.lock();
        if state.crashed {
            return Err(stopped());
        }
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        if self.rng.chance(state.faults.read_error) {
            return Err(failed("opening a file"));
        }
        Ok(SimFile { disk: Arc::clone(self), inode, life: state.life })
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.change_name(&mut state)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if state.faults.rename_first {
            state.durable_names.insert(to.to_owned(), inode);
        }
        state.name(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.change_name(&mut state)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.change(&mut state)?;
        let inside: Vec<PathBuf> = state.names.keys().filter(|name| name.starts_with(path)).cloned().collect();
        for path in inside {
            state.name(NameChange::Remove { path });
        }
        state.folders.retain(|folder| !folder.starts_with(path));
        Ok(())
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.change(&mut state)?;
        if self.rng.chance(state.faults.sync_error) {
            return Err(failed("a folder's sync"));
        }
        if state.faults.sync_dir_lies {
            return Ok(());
        }
        let state = &mut *state;
        for inode in std::mem::take(&mut state.deferred) {
            let Some(Inode { pending, durable, .. }) = state.files.get_mut(&inode) else { continue };
            std::mem::take(pending).iter().for_each(|write| write.apply(durable));
        }
        let (here, elsewhere): (Vec<NameChange>, _) =
            std::mem::take(&mut state.pending_names).into_iter().partition(|change| change.folder() == Some(path));
        state.pending_names = elsewhere;
        here.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    pub(super) fn lock(self: &Arc<Self>, path: &Path) -> io::Result<Option<SimLock>> {
        let mut state = self.state.lock();
        if state.crashed {
            return Err(stopped());
        }
        let life = state.life;
        Ok(state.locked.insert(path.to_owned()).then(|| SimLock {
            disk: Arc::clone(self),
            path: path.to_owned(),
            life,
        }))
    }

    pub(super) fn space(&self) -> Space {
        let state = self.state.lock();
        let total = state.faults.capacity.unwrap_or(u64::MAX);
        Space { free: state.faults.capacity.map_or(u64::MAX, |total| total.saturating_sub(state.used())), total }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.files.get(inode)).map(|file| file.seen.len() as u64).sum()
    }

    /// Whether the sync of a file is put off: it still has the name under which it is written.
    fn defers(&mut self, inode: u64) -> bool {
        let is_tmp = |(path, other): (&PathBuf, &u64)| *other == inode && path.extension().is_some_and(|e| e == "tmp");
        let defers = self.faults.rename_first && self.names.iter().any(is_tmp);
        self.deferred.extend(defers.then_some(inode));
        defers
    }

    fn name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

/// What a disk says that cannot.
fn failed(what: &str) -> io::Error {
    io::Error::other(format!("simulated error of {what}"))
}

/// A file of a simulated disk.
#[derive(Debug)]
pub struct SimFile {
    disk: Arc<SimDisk>,
    inode: u64,
    life: u64,
}

impl SimFile {
    /// Runs `work` on the file, unless it was opened before the last restart.
    fn with<T>(&self, work: impl FnOnce(&SimDisk, &mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.crashed || state.life != self.life {
            return Err(stopped());
        }
        work(&self.disk, &mut state)
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|disk, state| {
            let stops = disk.change(state);
            let mut keep = bytes.len();
            let mut result = Ok(());
            if stops.is_err() || disk.rng.chance(state.faults.write_error) {
                keep = usize::try_from(disk.rng.below(bytes.len() as u64 + 1)).unwrap_or(0);
                result = stops.and(Err(failed("a write")));
            }
            let used = state.used();
            let file = state.files.entry(self.inode).or_default();
            let grows = (offset + keep).saturating_sub(file.seen.len()) as u64;
            if let Some(free) = state.faults.capacity.map(|capacity| capacity.saturating_sub(used))
                && grows > free
            {
                keep = keep.saturating_sub(usize::try_from(grows - free).unwrap_or(usize::MAX));
                result = Err(io::ErrorKind::StorageFull.into());
            }
            let write = Write { offset, bytes: bytes.get(..keep).unwrap_or(bytes).to_vec() };
            write.apply(&mut file.seen);
            file.pending.push(write);
            result
        })
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|disk, state| {
            let file = state.files.get(&self.inode);
            let is_bad = file.is_some_and(|file| file.is_bad(offset, buffer.len()));
            if is_bad || disk.rng.chance(state.faults.read_error) {
                return Err(failed("a read"));
            }
            let seen = file.map_or(&[][..], |file| &file.seen);
            let rest = seen.get(offset..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            Ok(count)
        })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.with(|disk, state| {
            disk.change(state)?;
            let fails = disk.rng.chance(state.faults.sync_error);
            if !fails && (state.faults.sync_lies || state.defers(self.inode)) {
                return Ok(());
            }
            let file = state.files.entry(self.inode).or_default();
            for write in std::mem::take(&mut file.pending) {
                if !fails {
                    write.apply(&mut file.durable);
                } else if disk.rng.chance(0.5) {
                    write.apply_torn(&disk.rng, &mut file.durable);
                }
            }
            if fails { Err(failed("a sync")) } else { Ok(()) }
        })
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|disk, state| {
            disk.change(state)?;
            let file = state.files.entry(self.inode).or_default();
            // Cutting is durable at once: the log never cuts a file, so nothing stronger is needed.
            for bytes in [&mut file.seen, &mut file.durable] {
                bytes.resize(len, 0);
            }
            Ok(())
        })
    }

    pub(super) fn allocate(&self, len: u64) -> io::Result<()> {
        let fits = self.disk.space().free >= len;
        if fits { self.set_len(len) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.with(|_, state| Ok(state.files.get(&self.inode).map_or(0, |file| file.seen.len() as u64)))
    }
}

/// A lock of a simulated disk.
#[derive(Debug)]
pub struct SimLock {
    disk: Arc<SimDisk>,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::Disk;

    /// How often something is there after many power cuts.
    fn survivals(synced: bool, dir_synced: bool) -> (usize, usize) {
        let (mut names, mut whole) = (0, 0);
        for seed in 0..200 {
            let (disk, hand) = Disk::simulated(Rng::from_seed(seed));
            let (folder, path) = (Path::new("/d"), Path::new("/d/f"));
            disk.create_dir_all(folder).unwrap();
            let file = disk.create_new(path).unwrap();
            file.write_at(&[7; 2_000], 0).unwrap();
            if synced {
                file.sync().unwrap();
            }
            if dir_synced {
                disk.sync_dir(folder).unwrap();
            }
            hand.restart(Crash::Power);
            assert!(file.len().is_err());
            if let Ok(bytes) = disk.read(path, 10_000) {
                names += 1;
                whole += usize::from(bytes == [7; 2_000]);
            }
        }
        (names, whole)
    }

    #[test]
    fn only_what_is_synced_survives_a_power_cut_for_sure() {
        assert_eq!(survivals(true, true), (200, 200));
        let (names, whole) = survivals(false, true);
        assert!(names == 200 && (1..100).contains(&whole));
        let (names, whole) = survivals(true, false);
        assert!((50..150).contains(&names) && whole == names);
    }

    #[test]
    fn a_second_sync_after_a_failed_one_lies() {
        let mut lost = 0;
        for seed in 0..50 {
            let (disk, hand) = Disk::simulated(Rng::from_seed(seed));
            disk.create_dir_all(Path::new("/d")).unwrap();
            let file = disk.create_new(Path::new("/d/f")).unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(&[7; 600], 0).unwrap();
            hand.set_faults(Faults { sync_error: 1.0, ..Faults::default() });
            assert!(file.sync().is_err());
            hand.set_faults(Faults::default());
            file.sync().unwrap();
            assert_eq!(file.len().unwrap(), 600);
            hand.restart(Crash::Power);
            lost += usize::from(disk.read(Path::new("/d/f"), 1_000).unwrap() != [7; 600]);
        }
        assert!(lost > 10);
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (disk, hand) = Disk::simulated(Rng::from_seed(1));
        disk.create_dir_all(Path::new("/d")).unwrap();
        hand.set_faults(Faults { capacity: Some(100), ..Faults::default() });
        let file = disk.create_new(Path::new("/d/f")).unwrap();
        file.write_at(&[1; 60], 0).unwrap();
        assert_eq!(file.write_at(&[2; 60], 60).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((file.len().unwrap(), disk.space(Path::new("/d")).unwrap()), (100, Space { free: 0, total: 100 }));
    }
}
