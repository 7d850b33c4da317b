//! One look at an objective: its ledgers brought up to date and held, and windows counted from them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, MutexGuard};

use crate::base::clock::Millis;
use crate::metrics::changes::Token;
use crate::model::labels::Labels;
use crate::promql::source::Source;
use crate::slo::counts::Reader;
use crate::slo::ledger::{Count, Counts, Ledger, Method, difference};
use crate::slo::objective::{Objective, Part};

/// A store with its past.
pub trait History: Send + Sync {
    fn source(&self) -> &dyn Source;

    /// The oldest time that was written since the mark, which moves to now; `Millis::MAX` where nothing was. Without a
    /// mark nothing is known, and nothing must be kept.
    fn changed_since(&self, mark: &mut Option<Token>) -> Millis;
}

/// Good events and all events. Of a composite: weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub good: f64,
    pub total: f64,
}

impl Tally {
    pub fn bad(self) -> f64 {
        self.total - self.good
    }

    /// The share of bad events; `None` without events.
    pub fn error_ratio(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad() / self.total)
    }

    /// How fast the budget burns; `None` without events.
    pub fn burn_rate(self, target: f64) -> Option<f64> {
        self.error_ratio().map(|ratio| ratio / (1.0 - target))
    }
}

/// By group.
pub type Tallies = BTreeMap<Labels, Tally>;

/// A ledger that is kept, and up to when of all writes it knows.
#[derive(Debug)]
pub struct Kept {
    ledger: Option<Ledger>,
    mark: Option<Token>,
}

impl Kept {
    pub fn none() -> Mutex<Self> {
        Mutex::new(Self { ledger: None, mark: None })
    }
}

/// When and how far back is looked.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub time: Millis,
    /// The oldest time that will be asked for.
    pub oldest: Millis,
    /// Of the clock: the ledger ends here whatever is asked.
    pub now: Millis,
}

enum Held<'a> {
    Kept(MutexGuard<'a, Kept>),
    /// For a time before the one that is kept.
    Made(Box<Ledger>),
}

impl Held<'_> {
    fn ledger(&mut self) -> Option<&mut Ledger> {
        match self {
            Self::Kept(kept) => kept.ledger.as_mut(),
            Self::Made(ledger) => Some(ledger),
        }
    }
}

/// The look.
pub struct View<'a> {
    reader: Reader<'a>,
    objective: &'a Objective,
    held: Vec<(&'a Part, Held<'a>, HashMap<Millis, Counts>)>,
    time: Millis,
}

impl<'a> View<'a> {
    /// Brings the ledgers up to date. `kept` has one for each part.
    pub fn open(
        reader: Reader<'a>,
        history: &dyn History,
        (objective, kept): (&'a Objective, &'a [Mutex<Kept>]),
        moment: Moment,
    ) -> Result<Self, String> {
        let method = Method { budgeting: objective.budgeting, no_data: objective.no_data };
        let mut held = Vec::new();
        for (part, kept) in objective.parts.iter().zip(kept) {
            let mut kept = kept.lock();
            let horizon = objective.horizon();
            let until = moment.time.min(moment.now);
            if kept.ledger.as_ref().is_some_and(|ledger| moment.oldest < ledger.start()) {
                drop(kept);
                let mut ledger = Ledger::new(method, moment.oldest);
                ledger.fill(&reader, part, until)?;
                held.push((part, Held::Made(Box::new(ledger)), HashMap::new()));
                continue;
            }
            let is_new = kept.ledger.is_none();
            let oldest = history.changed_since(&mut kept.mark);
            let start = moment.oldest.min(moment.now - horizon);
            let ledger = kept.ledger.get_or_insert_with(|| Ledger::new(method, start));
            if !is_new {
                ledger.take_back(oldest);
                ledger.cut(moment.now - horizon);
            }
            if let Err(error) = ledger.fill(&reader, part, until) {
                // Half a piece may be in it.
                kept.ledger = None;
                return Err(error);
            }
            held.push((part, Held::Kept(kept), HashMap::new()));
        }
        Ok(Self { reader, objective, held, time: moment.time })
    }

    /// Counts the spans, each (from, to]. Edges other than now are asked for again where they are `fixed`.
    pub fn tally(&mut self, spans: &[(Millis, Millis)], fixed: impl Fn(Millis) -> bool) -> Result<Tallies, String> {
        let mut parts: Vec<(f64, bool, Counts)> = Vec::new();
        for (part, held, known) in &mut self.held {
            let mut sum = Counts::new();
            let Some(ledger) = held.ledger() else { continue };
            for (from, to) in spans {
                for edge in [*from, *to] {
                    if let Entry::Vacant(place) = known.entry(edge) {
                        place.insert(ledger.at(&self.reader, part, (edge, fixed(edge)))?);
                    }
                }
                let zero = Counts::new();
                let (later, earlier) = (known.get(to).unwrap_or(&zero), known.get(from).unwrap_or(&zero));
                for (group, count) in difference(later, earlier) {
                    let entry = sum.entry(group).or_default();
                    entry.numerator += count.numerator;
                    entry.denominator += count.denominator;
                }
            }
            parts.push((part.weight, part.is_good, sum));
        }
        Ok(joined(parts))
    }

    /// The greatest share of bad events that the last `length` may have had, by group, from what is known at grid edges;
    /// `None` where only counting tells.
    pub fn bound(&mut self, length: Millis) -> Result<Option<f64>, String> {
        let [(part, held, known)] = &mut *self.held else { return Ok(None) };
        let Some(ledger) = held.ledger() else { return Ok(None) };
        let (from, to) = (self.time - length, self.time);
        let (outer, inner) = (ledger.edge_before(from), ledger.edge_before(from + ledger.width()));
        if outer > from || inner < from || inner > to {
            return Ok(None);
        }
        if let Entry::Vacant(place) = known.entry(to) {
            place.insert(ledger.at(&self.reader, part, (to, false))?);
        }
        let Some(here) = known.get(&to) else { return Ok(None) };
        let (most, least) = (difference(here, &ledger.at_edge(outer)), difference(here, &ledger.at_edge(inner)));
        let mut worst = 0.0_f64;
        for (group, most) in most {
            let bad = if part.is_good { most.denominator - most.numerator } else { most.numerator };
            let total = least.get(&group).map_or(0.0, |count| count.denominator);
            match (bad > 0.0, total > 0.0) {
                (false, _) => {}
                (true, true) => worst = worst.max(bad / total),
                (true, false) => return Ok(None),
            }
        }
        Ok(Some(worst))
    }

    /// Whether anything that counts was there lately.
    pub fn is_absent(&self, length: Millis) -> Result<bool, String> {
        for part in &self.objective.parts {
            let groups = self.reader.bins(&part.denominator, &[self.time - length, self.time])?;
            if !groups.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts of the bins of the grid between two times.
    pub fn between(&mut self, from: Millis, to: Millis) -> Vec<(Millis, Tallies)> {
        let [(part, held, _)] = &mut *self.held else { return Vec::new() };
        let Some(ledger) = held.ledger() else { return Vec::new() };
        let one = |(edge, counts)| (edge, joined(vec![(part.weight, part.is_good, counts)]));
        ledger.between(from, to).into_iter().map(one).collect()
    }

    /// Width of the bins of [`View::between`].
    pub fn width(&mut self) -> Millis {
        self.held.iter_mut().find_map(|(_, held, _)| held.ledger().map(|ledger| ledger.width())).unwrap_or(0)
    }
}

/// Numerators become good events; several parts become weights.
fn joined(parts: Vec<(f64, bool, Counts)>) -> Tallies {
    let is_composite = parts.len() > 1;
    let mut all = Tallies::new();
    for (weight, is_good, counts) in parts {
        for (group, Count { numerator, denominator }) in counts {
            let good = if is_good { numerator } else { denominator - numerator };
            let tally = all.entry(group).or_default();
            if !is_composite {
                *tally = Tally { good, total: denominator };
            } else if denominator > 0.0 {
                tally.good += weight * good / denominator;
                tally.total += weight;
            }
        }
    }
    all
}
