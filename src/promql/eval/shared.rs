//! Parts that a query has twice, evaluated once.
//!
//! Parts are the same if they are written the same and evaluated over the same times. Only calls and aggregations are
//! looked at: what they give is smaller than what they read. A part with annotations is not shared, because these say
//! where they stand; nor is one that would take much memory, or of which samples are to be counted.
//!
//! What a query has in common with others (see [`super::memo`]) is found and kept beside; there, selectors count too.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::labels::Labels;
use crate::promql::ast::ValueType;

use super::cells::Cells;
use super::error::EvalError;
use super::memo::{Claim, Common, Look};
use super::plan::{Plan, PlanKind};
use super::query::{Frame, Work};
use super::vector::{Lazy, Ready};

/// Slots of all series of a shared part, filled or not.
pub(super) const SLOTS_MAX: usize = 2_000_000;

/// Texts of the parts of a query that stand in it more than once, or in others too, and their results.
#[derive(Default)]
pub(super) struct Shared {
    texts: HashSet<String>,
    results: Mutex<Vec<(String, Frame, Arc<Ready>)>>,
    common: Option<Common>,
}

impl Shared {
    /// Looks a plan through. `written` gives the text of a part.
    pub(super) fn of<'t>(plan: &Plan, written: impl Fn(&Plan) -> &'t str, common: Option<&Common>) -> Self {
        let mut shared = Self { common: common.cloned(), ..Self::default() };
        let mut seen = HashSet::new();
        let mut open = vec![plan];
        while let Some(plan) = open.pop() {
            let is_common = common.is_some_and(|common| common.has(written(plan)));
            if is_common && !reads_statistics(plan) {
                shared.texts.insert(written(plan).to_owned());
            }
            let is_candidate = matches!(plan.kind, PlanKind::Call(_) | PlanKind::Aggregate(_))
                && plan.value == ValueType::Vector
                && !written(plan).is_empty()
                && !reads_statistics(plan);
            if is_candidate && !seen.insert(written(plan)) {
                // What is inside is not evaluated a second time, so it is no candidate by itself.
                shared.texts.insert(written(plan).to_owned());
                continue;
            }
            open.extend(plan.parts());
        }
        shared
    }

    /// Whether a part may come from elsewhere.
    pub(super) fn has(&self, text: &str, plan: &Plan) -> bool {
        !self.texts.is_empty() && self.texts.contains(text) && !reads_statistics(plan)
    }

    /// Whether other queries have the part too.
    pub(super) fn is_common(&self, text: &str) -> bool {
        self.common.as_ref().is_some_and(|common| common.has(text))
    }

    /// Slots that a result may have to be kept.
    pub(super) fn room(&self, text: &str) -> usize {
        self.common.as_ref().filter(|common| common.has(text)).map_or(SLOTS_MAX, Common::room)
    }

    /// The result of a part, where there is one; else, for a part that others have too, the claim to be held while it is
    /// evaluated.
    pub(super) fn find(&self, text: &str, frame: Frame) -> Result<Again, Option<Claim>> {
        let claim = match self.common.as_ref().map(|common| common.look(text, frame)) {
            Some(Look::Ready(ready)) => return Ok(Again(ready)),
            Some(Look::Claim(claim)) => Some(claim),
            Some(Look::Alone) | None => None,
        };
        let results = self.results.lock();
        let found = results.iter().find(|(known, times, _)| known == text && *times == frame);
        found.map(|(_, _, ready)| Again(ready.clone())).ok_or(claim)
    }

    pub(super) fn keep(&self, text: &str, frame: Frame, ready: Ready) -> Again {
        let ready = Arc::new(ready);
        match self.common.as_ref().filter(|common| common.has(text)) {
            Some(common) => common.keep(text, frame, &ready),
            None => self.results.lock().push((text.to_owned(), frame, ready.clone())),
        }
        Again(ready)
    }
}

/// Whether something inside reads only count and sum of histograms: that depends on what is around it.
fn reads_statistics(plan: &Plan) -> bool {
    let own = match &plan.kind {
        PlanKind::Select(selector) => selector.stats_only,
        PlanKind::Range(range) => range.selector.stats_only,
        _ => false,
    };
    own || plan.parts().into_iter().any(reads_statistics)
}

/// A result that is used once more.
pub(super) struct Again(Arc<Ready>);

impl Lazy for Again {
    fn len(&self) -> usize {
        self.0.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.0.series[index].labels
    }

    fn drop_name(&self, index: usize) -> bool {
        self.0.series[index].drop_name
    }

    fn fill(&self, index: usize, _: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        cells.clone_from(&self.0.series[index].cells);
        Ok(())
    }

    fn cost(&self) -> usize {
        self.0.series.first().map_or(1, |series| series.cells.steps())
    }
}
