//! Quantiles of floats: `quantile`, `quantile_over_time`, `mad_over_time`.

use std::collections::VecDeque;
use std::ops::Range;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::Notes;
use super::query::Buffers;
use super::sliding::is_sparse;
use super::windows::Windows;

type Done = Result<(), EvalError>;

/// The order in which quantiles see values: NaN is the least.
#[inline]
fn key(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MIN;
    }
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The quantile `q` of values, which are reordered. Between two values it is weighted.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    match Rank::of(q, values.len()) {
        Err(value) => value,
        Ok(rank) => {
            let (_, low, above) = values.select_nth_unstable_by_key(rank.low, |value| key(*value));
            let low = *low;
            let high = above.iter().copied().min_by_key(|value| key(*value)).unwrap_or(low);
            rank.between(low, high)
        }
    }
}

/// Where a quantile lies in sorted values.
struct Rank {
    low: usize,
    weight: f64,
}

impl Rank {
    /// An error is the value where no rank is needed.
    fn of(q: f64, count: usize) -> Result<Self, f64> {
        if count == 0 || q.is_nan() {
            return Err(f64::NAN);
        }
        if q < 0.0 {
            return Err(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Err(f64::INFINITY);
        }
        let rank = q * (count - 1) as f64;
        Ok(Self { low: rank.floor() as usize, weight: rank - rank.floor() })
    }

    fn between(&self, low: f64, high: f64) -> f64 {
        low * (1.0 - self.weight) + high * self.weight
    }
}

pub(super) fn quantile_over_time(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    buffers: &mut Buffers,
) -> Done {
    let values = &windows.floats.values;
    let scratch = &mut buffers.numbers;
    let steps = windows.float_steps(1, notes);
    let quantiles = &windows.args[0];
    for step in &steps {
        let q = quantiles[*step];
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            notes.invalid_quantile(q, windows.span);
        }
    }
    if is_sparse(values.len(), windows.float_bounds) {
        for step in steps {
            windows.check()?;
            scratch.clear();
            scratch.extend_from_slice(&values[windows.floats_at(step)]);
            cells.set_float(step, quantile(quantiles[step], scratch));
        }
        return Ok(());
    }
    let mut sorted = Sorted::default();
    for step in steps {
        windows.check()?;
        sorted.move_to(values, windows.floats_at(step));
        let value = match Rank::of(quantiles[step], sorted.keys.len()) {
            Err(value) => value,
            Ok(rank) => {
                let last = sorted.keys.len() - 1;
                rank.between(sorted.value(rank.low), sorted.value((rank.low + 1).min(last)))
            }
        };
        cells.set_float(step, value);
    }
    Ok(())
}

/// Keys of values in order, in the memory of `keys`.
fn in_order(values: &[f64], mut keys: Vec<i64>) -> Vec<i64> {
    keys.clear();
    keys.extend(values.iter().map(|value| key(*value)));
    keys.sort_unstable();
    keys
}

/// The values of a window in order, changed by what enters and leaves.
#[derive(Default)]
struct Sorted {
    keys: Vec<i64>,
    merged: Vec<i64>,
    /// What entered together is in order already when it leaves together.
    chunks: VecDeque<(Range<usize>, Vec<i64>)>,
    window: Range<usize>,
}

impl Sorted {
    fn move_to(&mut self, values: &[f64], window: Range<usize>) {
        if window.start >= self.window.end {
            self.keys = in_order(&values[window.clone()], std::mem::take(&mut self.keys));
            self.chunks.clear();
            self.window = window;
            return;
        }
        let leaving = self.window.start..window.start;
        let entering = self.window.end..window.end;
        self.window = window;
        while self.chunks.front().is_some_and(|(range, _)| range.start < leaving.start) {
            self.chunks.pop_front();
        }
        let leaving = match self.chunks.front() {
            Some((range, _)) if *range == leaving => self.chunks.pop_front().map(|(_, keys)| keys).unwrap_or_default(),
            _ => in_order(&values[leaving], Vec::new()),
        };
        let added = in_order(&values[entering.clone()], Vec::new());
        self.merge(&added, &leaving);
        self.chunks.push_back((entering, added));
    }

    /// One pass over everything.
    fn merge(&mut self, entering: &[i64], leaving: &[i64]) {
        self.merged.clear();
        self.merged.reserve(self.keys.len() + entering.len());
        let (mut entering, mut leaving) = (entering.iter().copied().peekable(), leaving.iter().copied().peekable());
        for key in &self.keys {
            if leaving.next_if_eq(key).is_some() {
                continue;
            }
            while let Some(new) = entering.next_if(|new| new < key) {
                self.merged.push(new);
            }
            self.merged.push(*key);
        }
        self.merged.extend(entering);
        std::mem::swap(&mut self.keys, &mut self.merged);
    }

    fn value(&self, at: usize) -> f64 {
        let key = self.keys[at];
        if key == i64::MIN {
            return f64::NAN;
        }
        f64::from_bits((key ^ (((key >> 63) as u64) >> 1) as i64) as u64)
    }
}

pub(super) fn mad_over_time(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    buffers: &mut Buffers,
) -> Done {
    let scratch = &mut buffers.numbers;
    for step in windows.float_steps(1, notes) {
        windows.check()?;
        scratch.clear();
        scratch.extend_from_slice(&windows.floats.values[windows.floats_at(step)]);
        // A NaN makes the median undefined, and with it the deviations from it.
        if scratch.iter().any(|value| value.is_nan()) {
            cells.set_float(step, f64::NAN);
            continue;
        }
        let median = quantile(0.5, scratch);
        scratch.iter_mut().for_each(|value| *value = (*value - median).abs());
        cells.set_float(step, quantile(0.5, scratch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sorted_window_follows_its_values() {
        let values: Vec<f64> = (0..300_u64)
            .map(|i| {
                let value = (i.wrapping_mul(2_654_435_761) % 37) as f64 - 18.0;
                if i % 53 == 0 { f64::NAN } else { value }
            })
            .collect();
        let mut sorted = Sorted::default();
        for end in (1..=300).step_by(3) {
            let window = end.max(40) - 40..end;
            sorted.move_to(&values, window.clone());
            let mut expected: Vec<i64> = values[window].iter().map(|value| key(*value)).collect();
            expected.sort_unstable();
            assert_eq!(sorted.keys, expected, "window ending at {end}");
        }
    }

    #[test]
    fn quantiles_weigh_between_neighbours() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [4.0, 1.0]), 4.0);
        assert_eq!(quantile(0.0, &mut [-1.0, 2.0, -3.0]), -3.0);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
    }
}
