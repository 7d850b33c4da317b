//! The answer to a selector: which series, and their samples on demand.

use std::sync::Arc;

use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::source::{Column, SeriesSet, SourceError};

use super::matching::Plan;
use super::series::SeriesRef;
use super::store::Shared;

/// Series that were found, ascending by labels. Reading one copies its open column under the shard's lock and decodes
/// the rest without it.
#[derive(Debug)]
pub struct Selection {
    shared: Arc<Shared>,
    found: Vec<(Labels, SeriesRef)>,
    mint: i64,
    maxt: i64,
}

impl Selection {
    pub(super) fn new(shared: &Arc<Shared>, matchers: &[Matcher], mint: i64, maxt: i64) -> Self {
        let plans: Vec<Plan<'_>> = matchers.iter().map(Plan::new).collect();
        let mut found = Vec::new();
        for shard in &shared.shards {
            let shard = shard.lock();
            for slot in &shard.matching(&plans, mint, maxt) {
                if let (Some(series), Some(reference)) = (shard.by_slot(slot), shard.reference(slot)) {
                    found.push((series.labels.clone(), reference));
                }
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { shared: Arc::clone(shared), found, mint, maxt }
    }

    /// Labels of every series.
    pub fn iter_labels(&self) -> impl Iterator<Item = &Labels> {
        self.found.iter().map(|(labels, _)| labels)
    }
}

impl SeriesSet for Selection {
    fn len(&self) -> usize {
        self.found.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.found[index].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let Some((_, reference)) = self.found.get(index) else { return Ok(()) };
        let snapshot = {
            let shard = self.shared.shards[reference.shard as usize].lock();
            // A series that is gone had nothing left inside retention.
            let Some(series) = shard.get(*reference) else { return Ok(()) };
            series.snapshot(self.mint, self.maxt)
        };
        snapshot
            .read(self.mint, self.maxt, column)
            .map_err(|error| SourceError::Storage(format!("a chunk in memory cannot be read: {error}")))
    }
}
