//! What is read of one series: for each group of blocks the coarsest tier that answers exactly, else raw samples, else
//! the finest that is left.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::units::Period;
use crate::codec::rollup::window_end;
use crate::promql::source::Column;

use super::columns::{merge, settle};
use super::groups::{Group, Role};
use super::points::Points;
use super::reader::Block;
use super::tier::{emit, emit_histogram};
use super::version::{Remarks, Series, Version, Wanted, note};

/// Spans of time, first and last millisecond, ascending and apart.
pub type Spans = [(i64, i64)];

/// Points of a group beyond which reading all of its samples is cheaper than reading those of single windows.
const GAPS_MAX: usize = 64;

impl Version {
    /// Appends the samples of a series that are wanted, as for `select`, to a cleared column. Where there are samples
    /// elsewhere, in no block, windows with those are read raw. What cannot be read is named in the remarks. Answers the
    /// width of the widest windows that were read, 0 where only samples were.
    pub fn read(
        &self,
        series: &Series,
        (wanted, elsewhere): (Wanted, &Spans),
        column: &mut Column,
        remarks: &mut Remarks,
    ) -> i64 {
        let mut groups: SmallVec<[u32; 8]> = SmallVec::new();
        let mut orphans: SmallVec<[(u32, u32); 4]> = SmallVec::new();
        for (place, number) in &series.parts {
            match self.role(*place) {
                Role::Raw(group) | Role::Tier(group) if !groups.contains(&group) => groups.push(group),
                Role::Orphan => orphans.push((*place, *number)),
                _ => {}
            }
        }
        let mut reading = Reading { version: self, series, wanted, elsewhere, remarks, widest: 0 };
        reading.orphans(&orphans, column);
        for group in groups {
            let Some(group) = self.groups.get(group as usize) else { continue };
            reading.group(group, column);
        }
        reading.widest
    }
}

/// A series as it is being read.
struct Reading<'a> {
    version: &'a Version,
    series: &'a Series,
    wanted: Wanted,
    elsewhere: &'a Spans,
    remarks: &'a mut Remarks,
    widest: i64,
}

impl<'a> Reading<'a> {
    fn block(&self, place: u32) -> Option<&'a Arc<Block>> {
        self.version.blocks().get(place as usize)
    }

    fn range(&self) -> (i64, i64) {
        (self.wanted.mint, self.wanted.maxt)
    }

    fn group(&mut self, group: &Group, column: &mut Column) {
        let series = self.series;
        let part = |place: u32| series.parts.iter().find(|(other, _)| *other == place).copied();
        let raw: SmallVec<[(u32, u32); 2]> = group.members.iter().filter_map(|place| part(*place)).collect();
        let asked = self.wanted.asked;
        let exact = group.tiers.iter().find(|(resolution, _)| asked.fits(*resolution));
        let exact = exact.and_then(|(_, place)| part(*place));
        if let Some(exact) = exact {
            let mut part = Column::default();
            let into = if column.is_empty() { &mut *column } else { &mut part };
            if self.windows(exact, &raw, into) {
                merge(column, &mut part);
                return;
            }
        }
        if raw.is_empty() {
            // A rule took its samples away, and left windows.
            let left = group.tiers.iter().rev().find_map(|(_, place)| part(*place));
            if let Some(left) = exact.or(left) {
                self.left(left, &[], column);
            }
            return;
        }
        self.raw(&raw, self.range(), column);
    }

    /// Merges the raw samples in a range; the newest block wins.
    fn raw(&mut self, parts: &[(u32, u32)], range: (i64, i64), column: &mut Column) {
        for (place, number) in parts {
            let Some(block) = self.block(*place) else { continue };
            let (mut failures, before) = (Vec::new(), column.len());
            let mask = self.version.mask(*place, &self.series.labels);
            if let Err(error) = block.read(*number, range, column, &mut failures) {
                failures.push(error);
            }
            self.remarks.warnings.extend(failures.iter().map(|error| note(block, error)));
            if mask.is_empty() {
                settle(column, before);
            } else {
                let mut part = column.split_off(before);
                mask.apply(&mut part);
                merge(column, &mut part);
            }
        }
    }

    /// Reads points of a tier, and raw samples where those do not stand for them. False, with nothing read, where raw
    /// samples have to be read altogether: what is damaged here is not missed then.
    fn windows(&mut self, (place, number): (u32, u32), raw: &[(u32, u32)], column: &mut Column) -> bool {
        let shape = self.wanted.asked.shape;
        let Some(block) = self.block(place) else { return false };
        let (mint, maxt) = self.range();
        let width = block.meta().resolution;
        // Where windows lie across the edges of the range, those across its end have their own ends beyond it.
        let aligned = self.wanted.asked.is_aligned(width);
        let range = (mint, maxt.saturating_add(if aligned { 0 } else { width }));
        let Ok(mut points) = block.points(number, range, shape.need()) else { return false };
        points.floats.retain(|point| point.first_time <= maxt);
        points.histograms.retain(|point| point.first_time <= maxt);
        let Points { floats, histograms } = &points;
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        let mut other = Column::default();
        let mask = self.version.mask(place, &self.series.labels);
        let elsewhere = self.elsewhere;
        let across = |from: i64, to: i64| !aligned && (from < mint || to > maxt);
        // Windows across an edge, that have samples elsewhere, or of which some are deleted since.
        let differs = |from: i64, to: i64| across(from, to) || touches(elsewhere, from, to) || mask.touches(from, to);
        for point in histograms {
            if differs(point.first_time, point.last_time) || !emit_histogram(point, shape, raw.is_empty(), &mut other) {
                gaps.push((point.first_time, point.last_time));
            }
        }
        for point in floats {
            if differs(point.first_time, point.end_time) || !emit(point, shape, raw.is_empty(), column) {
                gaps.push((point.first_time, point.end_time));
            }
        }
        let mixed = !floats.is_empty() && !histograms.is_empty();
        let many = gaps.len() > GAPS_MAX && gaps.len() * 4 > floats.len() + histograms.len();
        if !gaps.is_empty() && (mixed || many || raw.is_empty()) {
            column.clear();
            return false;
        }
        merge(column, &mut other);
        let mut samples = Column::default();
        for (from, to) in joined(gaps) {
            let mut part = Column::default();
            self.raw(raw, (from.max(mint), to.min(maxt)), &mut part);
            merge(&mut samples, &mut part);
        }
        merge(column, &mut samples);
        self.widest = self.widest.max(block.meta().resolution);
        true
    }

    /// Reads what is left of samples that are gone: tiers that answer exactly first, then the finest. What one of them
    /// covers the next does not answer again.
    fn orphans(&mut self, orphans: &[(u32, u32)], column: &mut Column) {
        let mut order: SmallVec<[(bool, i64, u32, u32); 4]> = SmallVec::new();
        for (place, number) in orphans {
            let resolution = self.block(*place).map_or(0, |block| block.meta().resolution);
            let exact = self.wanted.asked.fits(resolution);
            order.push((!exact, if exact { -resolution } else { resolution }, *place, *number));
        }
        order.sort_unstable();
        let mut covered: Vec<(i64, i64)> = Vec::new();
        for same in order.chunk_by(|a, b| a.1 == b.1) {
            let before = covered.clone();
            for (_, _, place, number) in same {
                self.left((*place, *number), &before, column);
                if let Some(meta) = self.block(*place).map(|block| block.meta()) {
                    let first = window_end(meta.min_time, meta.resolution).saturating_sub(meta.resolution);
                    covered.push((first.saturating_add(1), meta.max_time));
                }
            }
            covered.sort_unstable();
            covered = joined(covered);
        }
    }

    /// Merges the points of a block outside of what is covered, as near to their samples as may be.
    fn left(&mut self, (place, number): (u32, u32), covered: &Spans, column: &mut Column) {
        let Some(block) = self.block(place) else { return };
        let shape = self.wanted.asked.shape;
        let mut points = match block.points(number, self.range(), shape.need()) {
            Ok(points) => points,
            Err(error) => {
                self.remarks.warnings.insert(note(block, &error));
                return;
            }
        };
        points.hide(&self.version.mask(place, &self.series.labels));
        let (mut part, mut other) = (Column::default(), Column::default());
        for point in points.floats.iter().filter(|point| !touches(covered, point.first_time, point.end_time)) {
            emit(point, shape, true, &mut part);
        }
        for point in points.histograms.iter().filter(|point| !touches(covered, point.first_time, point.last_time)) {
            emit_histogram(point, shape, true, &mut other);
        }
        merge(&mut part, &mut other);
        if !part.is_empty() {
            let width = Period::from_millis(block.meta().resolution);
            self.widest = self.widest.max(block.meta().resolution);
            self.remarks.infos.insert(format!("older samples are answered from windows of {width}"));
        }
        merge(column, &mut part);
    }
}

/// Whether any span has a part of `from..=to`.
fn touches(spans: &Spans, from: i64, to: i64) -> bool {
    let at = spans.partition_point(|(_, last)| *last < from);
    spans.get(at).is_some_and(|(first, _)| *first <= to)
}

/// Joins spans that overlap or follow each other. They ascend by their begin.
fn joined(spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    let mut out: Vec<(i64, i64)> = Vec::new();
    for (from, to) in spans {
        match out.last_mut() {
            Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
            _ => out.push((from, to)),
        }
    }
    out
}
