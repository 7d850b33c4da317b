//! Binary operators between vectors: which series belong together is found once, not at every step.
//!
//! What Prometheus decides at each step (which of several series with one signature is there, whether two are there at
//! once) is decided here on bits, so the result is the same. Of several errors the one at the earliest step is told.

use hashbrown::HashMap;
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::model::labels::{Labels, METRIC_NAME, Quoted, is_classic_label_name, push_pair};
use crate::promql::ast::{BinaryOp, Cardinality, Span, VectorMatching};

use super::cells::{Bits, Cells, Series};
use super::elements::{self, Remark};
use super::error::EvalError;
use super::notes::Notes;
use super::plan::BinaryPlan;
use super::query::{Frame, Query};
use super::vector::Ready;

/// The labels by which series find each other.
fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    labels.filter(|name| is_matched_on(name, matching))
}

fn is_matched_on(name: &str, matching: &VectorMatching) -> bool {
    let listed = matching.labels.iter().any(|label| **label == *name);
    if matching.on { listed } else { !listed && name != METRIC_NAME }
}

/// The number of the signature of each series, for both sides.
struct Signatures {
    left: Vec<usize>,
    right: Vec<usize>,
    count: usize,
}

impl Signatures {
    fn new(left: &[Series], right: &[Series], matching: &VectorMatching) -> Self {
        let mut known: HashMap<Vec<u8>, usize, foldhash::fast::FixedState> = HashMap::default();
        // Mostly they are seen twice, and then nothing is allocated.
        let mut signature = Vec::new();
        let mut number = |series: &Series| {
            signature.clear();
            let pairs = series.labels.iter().filter(|(name, _)| is_matched_on(name, matching));
            pairs.for_each(|(name, value)| push_pair(&mut signature, name, value));
            let next = known.len();
            *known.entry_ref(&*signature).or_insert(next)
        };
        let left = left.iter().map(&mut number).collect();
        let right = right.iter().map(&mut number).collect();
        Self { left, right, count: known.len() }
    }

    /// At which steps each signature is there on one side.
    fn presence(&self, series: &[Series], of: &[usize], steps: usize) -> Vec<Bits> {
        let mut present = vec![Bits::none(steps); self.count];
        for (series, signature) in series.iter().zip(of) {
            present[*signature].or(&series.cells.present());
        }
        present
    }
}

/// `and`, `or`, `unless`.
pub(super) fn set_operation(
    op: BinaryOp,
    matching: &VectorMatching,
    (mut left, mut right): (Ready, Ready),
    steps: usize,
) -> Ready {
    let signatures = Signatures::new(&left.series, &right.series, matching);
    let restrict = |series: &mut [Series], of: &[usize], other: &[Bits], present: bool| {
        for (series, signature) in series.iter_mut().zip(of) {
            let mut keep = series.cells.present();
            if present {
                keep.and(&other[*signature]);
            } else {
                keep.and_not(&other[*signature]);
            }
            series.cells.mask(&keep);
        }
    };
    if op == BinaryOp::Or {
        let there = signatures.presence(&left.series, &signatures.left, steps);
        restrict(&mut right.series, &signatures.right, &there, false);
        left.series.append(&mut right.series);
        left.held.join(right.held);
    } else {
        let there = signatures.presence(&right.series, &signatures.right, steps);
        restrict(&mut left.series, &signatures.left, &there, op == BinaryOp::And);
    }
    left.series.retain(|series| !series.cells.is_vacant());
    left
}

/// An error at a step. Errors of one step come in the order of phase and position.
struct Clash {
    at: (usize, u8, usize),
    message: String,
}

/// A result in the making.
struct Output {
    cells: Cells,
    /// The signature that the cells belong to, and the steps at which it was matched, kept or not.
    matched: Vec<(usize, Bits)>,
}

/// Arithmetic and comparisons between vectors, with one side on which signatures are unique.
pub(super) struct Matcher<'a> {
    plan: &'a BinaryPlan,
    matching: &'a VectorMatching,
    frame: Frame,
    many: &'a [Series],
    one: &'a [Series],
    /// Whether the side that may have many is the right one.
    swapped: bool,
    outputs: IndexMap<Labels, Output, foldhash::fast::FixedState>,
    /// By step, the remark of the latest of the series, as Prometheus tells only that.
    remarks: HashMap<usize, (usize, Remark)>,
    clash: Option<Clash>,
}

pub(super) fn arithmetic(
    query: &Query<'_>,
    (plan, span): (&BinaryPlan, Span),
    matching: &VectorMatching,
    (left, right, frame): (Ready, Ready, Frame),
    notes: &mut Notes,
) -> Result<Ready, EvalError> {
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let signatures = Signatures::new(&left.series, &right.series, matching);
    let (many, one) = if swapped { (&right.series, &left.series) } else { (&left.series, &right.series) };
    let (many_signatures, one_signatures) =
        if swapped { (&signatures.right, &signatures.left) } else { (&signatures.left, &signatures.right) };
    let mut groups: Vec<(Vec<usize>, Vec<usize>)> = vec![(Vec::new(), Vec::new()); signatures.count];
    many_signatures.iter().enumerate().for_each(|(index, signature)| groups[*signature].0.push(index));
    one_signatures.iter().enumerate().for_each(|(index, signature)| groups[*signature].1.push(index));
    let mut matcher = Matcher {
        plan,
        matching,
        frame,
        many,
        one,
        swapped,
        outputs: IndexMap::default(),
        remarks: HashMap::new(),
        clash: None,
    };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let mut any_many = Bits::none(frame.steps);
    many.iter().for_each(|series| any_many.or(&series.cells.present()));
    for (signature, (many, one)) in groups.iter().enumerate() {
        query.check()?;
        if one.len() > 1 && matcher.find_duplicates(one, (!fills).then_some(&any_many)) {
            // The query fails: what else there is to find in this group is not worth its pairs.
            continue;
        }
        matcher.group(query, signature, (many, one))?;
    }
    matcher.finish(query, span, notes)
}

impl Matcher<'_> {
    /// Two series of one signature at one step on the side where it must be unique. Nothing is looked at where the
    /// other side is empty.
    fn find_duplicates(&mut self, one: &[usize], other: Option<&Bits>) -> bool {
        let mut found = false;
        let mut seen = Bits::none(self.frame.steps);
        for (position, index) in one.iter().enumerate() {
            let mut present = self.one[*index].cells.present();
            if let Some(other) = other {
                present.and(other);
            }
            if let Some(step) = seen.first_common(&present) {
                let before = one[..position].iter().rev().find(|before| {
                    let cells = &self.one[**before].cells;
                    cells.floats.get(step) || cells.histogram(step).is_some()
                });
                if let Some(before) = before {
                    let message = self.duplicate_message(*before, *index);
                    self.clash((step, 0, *index), message);
                    found = true;
                }
            }
            seen.or(&present);
        }
        found
    }

    fn duplicate_message(&self, before: usize, index: usize) -> String {
        let group = braces(&signature(&self.one[index].labels, self.matching));
        let side = if self.swapped { "left" } else { "right" };
        let mut series = [before, index].map(|index| braces(&self.one[index].labels));
        series.sort_unstable();
        format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            series[0], series[1]
        )
    }

    fn clash(&mut self, at: (usize, u8, usize), message: String) {
        if self.clash.as_ref().is_none_or(|clash| at < clash.at) {
            self.clash = Some(Clash { at, message });
        }
    }

    /// All series of one signature.
    fn group(
        &mut self,
        query: &Query<'_>,
        signature: usize,
        (many, one): (&[usize], &[usize]),
    ) -> Result<(), EvalError> {
        // The fill of a missing series is named by its side; the side that may have many can be either.
        let fills = [self.matching.fill_right, self.matching.fill_left];
        let [fill_one, fill_many] = fills;
        let mut taken = Bits::none(self.frame.steps);
        let (all_many, all_one) = (self.many, self.one);
        for index in many {
            let series = &all_many[*index];
            for other in one {
                query.check()?;
                let other = &all_one[*other];
                self.pair(
                    (signature, *index),
                    (&series.labels, &series.cells),
                    (&other.labels, &other.cells),
                    &mut taken,
                );
            }
            if let Some(fill) = fill_one {
                let mut missing = series.cells.present();
                one.iter().for_each(|other| missing.and_not(&all_one[*other].cells.present()));
                if !missing.is_empty() {
                    let mut cells = series.cells.clone();
                    cells.mask(&missing);
                    let labels = self::signature(&series.labels, self.matching);
                    let filled = Cells::full(vec![fill; self.frame.steps]);
                    self.pair((signature, *index), (&series.labels, &cells), (&labels, &filled), &mut taken);
                }
            }
        }
        let Some(fill) = fill_many else { return Ok(()) };
        for index in one {
            let series = &all_one[*index];
            let mut missing = series.cells.present();
            missing.and_not(&taken);
            if missing.is_empty() {
                continue;
            }
            let mut cells = series.cells.clone();
            cells.mask(&missing);
            let labels = self::signature(&series.labels, self.matching);
            let filled = Cells::full(vec![fill; self.frame.steps]);
            let order = all_many.len() + index;
            self.pair((signature, order), (&labels, &filled), (&series.labels, &cells), &mut taken);
        }
        Ok(())
    }

    /// Applies the operator to one series of each side.
    fn pair(
        &mut self,
        (signature, order): (usize, usize),
        many: (&Labels, &Cells),
        one: (&Labels, &Cells),
        taken: &mut Bits,
    ) {
        let (left, right) = if self.swapped { (one.1, many.1) } else { (many.1, one.1) };
        let combination = elements::columns(self.plan.op, self.plan.return_bool, left, right);
        for (step, remark) in combination.remarks {
            let held = self.remarks.entry(step).or_insert((order, remark));
            if order >= held.0 {
                *held = (order, remark);
            }
        }
        if combination.matched.is_empty() {
            return;
        }
        let unique = self.matching.cardinality == Cardinality::OneToOne;
        if let Some(step) = taken.first_common(&combination.matched).filter(|_| unique) {
            let text = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            self.clash((step, 1, order), text.to_owned());
        }
        taken.or(&combination.matched);
        let labels = self.result_labels(many.0, one.0);
        let output = match self.outputs.entry(labels) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(Output { cells: combination.cells, matched: vec![(signature, combination.matched)] });
                return;
            }
        };
        let mut clash = None;
        match output.matched.iter_mut().find(|(candidate, _)| *candidate == signature) {
            Some((_, matched)) => {
                if let Some(step) = matched.first_common(&combination.matched) {
                    clash = Some((step, "multiple matches for labels: grouping labels must ensure unique matches"));
                }
                matched.or(&combination.matched);
            }
            None => {
                if let Some(step) = output.cells.present().first_common(&combination.cells.present()) {
                    clash = Some((step, "vector cannot contain metrics with the same labelset"));
                }
                output.matched.push((signature, combination.matched));
            }
        }
        output.cells.overlay(&combination.cells);
        if let Some((step, text)) = clash {
            self.clash((step, 1, order), text.to_owned());
        }
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let drops_quantity = elements::changes_quantity(self.plan.op);
        let kept = many.filter(|name| {
            if drops_quantity && is_metadata(name) {
                return false;
            }
            let listed = matching.labels.iter().any(|label| **label == *name);
            matching.cardinality != Cardinality::OneToOne || listed == matching.on
        });
        if matching.include.is_empty() {
            return kept;
        }
        let mut builder = kept.to_builder();
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        builder.build()
    }

    fn finish(self, query: &Query<'_>, span: Span, notes: &mut Notes) -> Result<Ready, EvalError> {
        if let Some(clash) = self.clash {
            return Err(EvalError::execution(clash.message));
        }
        let mut remarks: Vec<_> = self.remarks.into_iter().collect();
        remarks.sort_unstable_by_key(|(step, _)| *step);
        for (_, (_, remark)) in remarks {
            tell(remark, self.plan.op, span, notes);
        }
        let drop_name = self.plan.return_bool;
        let series = self
            .outputs
            .into_iter()
            .map(|(labels, output)| Series { labels, drop_name, cells: output.cells })
            .collect();
        Ready::new(query, series)
    }
}

/// Whether a label says what a metric is: its name, type and unit.
pub(super) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Adds the note for a remark.
pub(super) fn tell(remark: Remark, op: BinaryOp, span: Span, notes: &mut Notes) {
    match remark {
        Remark::Types(left, right) => notes.incompatible_types(left, elements::symbol(op), right, span),
        Remark::Buckets => notes.incompatible_buckets(elements::symbol(op), span),
        Remark::Collision(operation) => notes.reset_collision(operation, span),
        Remark::Reconciled(operation) => notes.bounds_reconciled(operation, span),
    }
}

/// Labels as Go prints them: the metric name among the others.
pub(super) fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = Quoted(value);
            if is_classic_label_name(name) { format!("{name}={value}") } else { format!("{}={value}", Quoted(name)) }
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
