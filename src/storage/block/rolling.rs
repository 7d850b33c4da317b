//! The job that rolls a raw block up into a block of the tier.

use std::io;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::codec::rollup;
use crate::promql::source::Column;

use super::job::{Done, Walk};
use super::reader::{Block, BlockError, decode};
use super::shelf::Blocks;
use super::tier::TIER_MS;
use super::version::Version;
use super::window::WINDOW_MS;

/// Points in a chunk: five days.
const CHUNK_POINTS: usize = 7_200;

/// A raw block that is long enough, alone in its time, and has no tier block yet.
pub(super) fn due(version: &Version) -> Option<Arc<Block>> {
    let raw = version.blocks().iter().enumerate().filter(|(_, block)| block.meta().resolution == 0);
    let mut due = raw.filter(|(place, block)| {
        let meta = block.meta();
        let long = meta.max_time.saturating_sub(meta.min_time) > WINDOW_MS;
        long && block.is_mergeable() && version.is_alone(*place) && version.rollup_of(*place).is_none()
    });
    due.next().map(|(_, block)| Arc::clone(block))
}

pub(super) fn run(blocks: &Blocks, now: Millis, source: &Block) -> Result<Done, BlockError> {
    let io = |error: io::Error| BlockError::Io { path: "a tier block".to_owned(), error };
    let mut writer = blocks.writer(now, source.meta().level, TIER_MS, vec![source.meta().id]).map_err(io)?;
    let graves = blocks.version().graves_of(source.meta().id);
    let mut walk = Walk::visible(source, graves)?;
    let mut column = Column::default();
    while let Some(labels) = walk.labels().cloned() {
        column.clear();
        for bytes in walk.take()? {
            decode(&bytes, i64::MIN, i64::MAX, &mut column).map_err(|error| io(io::Error::other(error)))?;
        }
        // Histograms and start times are only in raw samples.
        let plain = column.histograms.iter().all(Option::is_none) && column.starts.iter().all(|start| *start == 0);
        let points = plain.then(|| rollup::roll(&column.times, &column.values, TIER_MS)).flatten();
        let mut chunks = Vec::new();
        for points in points.unwrap_or_default().chunks(CHUNK_POINTS) {
            let mut bytes = Vec::new();
            rollup::encode(points, &mut bytes);
            chunks.push(bytes);
        }
        if !chunks.is_empty() {
            writer.add(&labels, &chunks).map_err(io)?;
        }
    }
    let added: Vec<_> = writer.finish().map_err(io)?.into_iter().collect();
    if added.is_empty() {
        source.set_unmergeable();
    }
    blocks.publish(&added, &[])?;
    let bytes_after = added.iter().map(|(_, len)| len).sum();
    let added = added.iter().map(|(meta, _)| meta.id).collect();
    Ok(Done { removed: Vec::new(), added, bytes_before: 0, bytes_after })
}
