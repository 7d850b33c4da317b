//! Harm that comes to a simulated disk while nobody looks.

use std::path::{Path, PathBuf};

use super::PIECE;
use super::sim::SimDisk;
use super::torn::Inode;

impl SimDisk {
    /// Flips a bit of a file that `choose` picks out of the names; answers where.
    pub fn flip_bit(&self, choose: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        let bit = 1 << self.rng.below(8);
        self.hit(choose, |file, at| {
            for bytes in [&mut file.seen, &mut file.durable] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bit;
                }
            }
        })
    }

    /// Makes a piece of a file that `choose` picks out of the names unreadable, for good; answers where.
    pub fn spoil(&self, choose: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        self.hit(choose, |file, at| file.bad = Some((at / PIECE * PIECE, (at / PIECE + 1) * PIECE)))
    }

    /// Does harm at a place by chance; answers where.
    fn hit(&self, choose: impl Fn(&Path) -> bool, harm: impl Fn(&mut Inode, usize)) -> Option<(PathBuf, u64)> {
        let mut state = self.state.lock();
        let mut places: Vec<(PathBuf, u64, usize)> = Vec::new();
        for (path, inode) in state.names.iter().filter(|(path, _)| choose(path)) {
            let len = state.files.get(inode).map_or(0, |file| file.seen.len());
            places.extend((len > 0).then(|| (path.clone(), *inode, len)));
        }
        let total: usize = places.iter().map(|(_, _, len)| len).sum();
        let mut at = usize::try_from(self.rng.below(total as u64)).ok()?;
        for (path, inode, len) in places {
            if at >= len {
                at -= len;
                continue;
            }
            harm(state.files.get_mut(&inode)?, at);
            return Some((path, at as u64));
        }
        None
    }
}
