//! What operators ask for: merging now, and links to everything that lives.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::base::clock::Millis;

use super::job::Job;
use super::manifest::{self, Live};
use super::reader::{Block, BlockError};
use super::shelf::{Blocks, path_of};
use super::tombstones;
use super::window::{WINDOW_MS, window_of};

impl Blocks {
    /// Merges the blocks of each fresh window into one, also where the window is not over and little is gained. Answers
    /// how many blocks were replaced.
    pub fn gather(&self, now: Millis) -> Result<usize, BlockError> {
        let mut windows: BTreeMap<i64, Vec<Arc<Block>>> = BTreeMap::new();
        let version = self.version();
        for block in version.blocks().iter().filter(|block| block.meta().resolution == 0 && block.is_mergeable()) {
            let window = window_of(block.meta().min_time, WINDOW_MS);
            if window_of(block.meta().max_time, WINDOW_MS) == window {
                windows.entry(window).or_default().push(Arc::clone(block));
            }
        }
        let mut replaced = 0;
        for sources in windows.into_values().filter(|sources| sources.len() > 1) {
            replaced += sources.len();
            Job::Merge(sources).run(self, now)?;
        }
        Ok(replaced)
    }

    /// Makes a folder of blocks out of links to the files that live now. None may be removed meanwhile.
    pub fn link_into(&self, folder: &Path) -> io::Result<()> {
        self.disk.create_dir_all(folder)?;
        let version = self.version();
        let mut linked: Vec<Live> = Vec::new();
        for live in version.live() {
            match self.disk.link(&path_of(self.folder(), live.meta.id), &path_of(folder, live.meta.id)) {
                Ok(()) => linked.push(live),
                // A block that was set aside because its file is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !version.tombstones().is_empty() {
            tombstones::write(&self.disk, folder, version.tombstones())?;
        }
        manifest::write(&self.disk, folder, &linked)
    }
}
