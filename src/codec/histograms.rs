//! Columns of native histograms. Samples that share a layout (schema, zero threshold, spans, custom bounds) form a
//! segment, which stores the layout once and then a value column for reset hint, count, zero count, sum and each bucket: over time
//! a bucket is a counter like any other, and most do not move.
//!
//! A staleness marker has no buckets and so its own segment.

use std::sync::Arc;

use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::codec::{CodecError, Effort, SAMPLES_MAX, values};
use crate::model::histogram::{Histogram, ResetHint, Span};

/// Bucket counts that one column may decode to: 128 MiB of doubles.
pub const SLOTS_MAX: usize = 1 << 24;

/// Buckets, spans or bounds of one histogram; far beyond what any sender uses.
const BUCKETS_MAX: usize = 1 << 16;

/// Columns of a segment before its buckets: reset hint, count, zero count, sum.
const PLAIN_COLUMNS: usize = 4;

/// Whether `count` histograms of at most `buckets` buckets may share a column.
pub fn fits(count: usize, buckets: usize) -> bool {
    count <= SAMPLES_MAX && buckets <= BUCKETS_MAX && count.saturating_mul(buckets + PLAIN_COLUMNS) <= SLOTS_MAX
}

/// Appends a column of at most [`SAMPLES_MAX`] histograms; the caller has asked [`fits`], and each histogram has as
/// many buckets as its spans say.
pub fn encode(histograms: &[Arc<Histogram>], effort: Effort, out: &mut Vec<u8>) {
    put_varint(out, histograms.len() as u64);
    for segment in histograms.chunk_by(|a, b| same_layout(a, b)) {
        put_varint(out, segment.len() as u64);
        let Some(first) = segment.first() else { continue };
        put_layout(first, out);
        let mut series = vec![0.0; segment.len()];
        let mut column = Vec::new();
        let mut put = |get: &dyn Fn(&Histogram) -> f64| {
            series.iter_mut().zip(segment).for_each(|(slot, histogram)| *slot = get(histogram));
            column.clear();
            values::encode_with(&series, effort, &mut column);
            put_varint(out, column.len() as u64);
            out.extend_from_slice(&column);
        };
        put(&|h| f64::from(hint_code(h.reset_hint)));
        put(&|h| h.count);
        put(&|h| h.zero_count);
        put(&|h| h.sum);
        for i in 0..first.positive_buckets.len() {
            put(&|h| h.positive_buckets.get(i).copied().unwrap_or(0.0));
        }
        for i in 0..first.negative_buckets.len() {
            put(&|h| h.negative_buckets.get(i).copied().unwrap_or(0.0));
        }
    }
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |v: &Arc<[f64]>| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_buckets.len() == b.positive_buckets.len()
        && a.negative_buckets.len() == b.negative_buckets.len()
        && (Arc::ptr_eq(&a.custom_values, &b.custom_values) || bits(&a.custom_values) == bits(&b.custom_values))
}

fn put_layout(histogram: &Histogram, out: &mut Vec<u8>) {
    out.push(histogram.schema as u8);
    out.extend_from_slice(&histogram.zero_threshold.to_le_bytes());
    for (spans, buckets) in [
        (&histogram.positive_spans, &histogram.positive_buckets),
        (&histogram.negative_spans, &histogram.negative_buckets),
    ] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_signed(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
        put_varint(out, buckets.len() as u64);
    }
    put_varint(out, histogram.custom_values.len() as u64);
    out.extend(histogram.custom_values.iter().flat_map(|bound| bound.to_le_bytes()));
}

fn hint_code(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn hint(code: f64) -> Result<ResetHint, CodecError> {
    Ok(match code as u8 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(CodecError("a reset hint is unknown")),
    })
}

/// How many histograms a column holds.
pub fn len(bytes: &[u8]) -> Result<usize, CodecError> {
    Reader::new(bytes).count(SAMPLES_MAX)
}

/// Appends histograms `from..to` (cut at the end of the column).
pub fn decode_range(bytes: &[u8], from: usize, to: usize, out: &mut Vec<Arc<Histogram>>) -> Result<(), CodecError> {
    let mut reader = Reader::new(bytes);
    let len = reader.count(SAMPLES_MAX)?;
    let to = to.min(len);
    let mut start = 0;
    while start < to {
        let count = reader.count(len - start)?;
        if count == 0 {
            return Err(CodecError("a segment is empty"));
        }
        let layout = read_layout(&mut reader)?;
        let part = (from.saturating_sub(start).min(count), (to - start).min(count));
        read_segment(&mut reader, &layout, (count, part), out)?;
        start += count;
    }
    Ok(())
}

fn read_layout(reader: &mut Reader<'_>) -> Result<Histogram, CodecError> {
    let mut layout = Histogram { schema: reader.u8()? as i8, zero_threshold: reader.f64()?, ..Histogram::default() };
    for positive in [true, false] {
        let count = reader.count(BUCKETS_MAX.min(reader.rest().len()))?;
        let mut spans = Vec::with_capacity(count);
        for _ in 0..count {
            let offset = i32::try_from(reader.signed()?).map_err(|_| CodecError("a span is out of range"))?;
            spans.push(Span { offset, length: reader.count(BUCKETS_MAX)? as u32 });
        }
        // Each bucket has a column of at least two bytes.
        let buckets = vec![0.0; reader.count(BUCKETS_MAX.min(reader.rest().len()))?];
        if spans.iter().map(|span| span.length as usize).sum::<usize>() != buckets.len() {
            return Err(CodecError("spans and buckets differ"));
        }
        if positive {
            (layout.positive_spans, layout.positive_buckets) = (spans, buckets);
        } else {
            (layout.negative_spans, layout.negative_buckets) = (spans, buckets);
        }
    }
    let bounds = reader.count(BUCKETS_MAX)?;
    let bounds = reader.take(bounds * 8)?;
    layout.custom_values = bounds.as_chunks::<8>().0.iter().map(|bound| f64::from_le_bytes(*bound)).collect();
    Ok(layout)
}

/// Reads a segment's columns and appends the histograms of the part `from..to` of its `count`.
fn read_segment(
    reader: &mut Reader<'_>,
    layout: &Histogram,
    (count, (from, to)): (usize, (usize, usize)),
    out: &mut Vec<Arc<Histogram>>,
) -> Result<(), CodecError> {
    let buckets = layout.positive_buckets.len() + layout.negative_buckets.len();
    if !fits(count, buckets) {
        return Err(CodecError("a histogram column is too large"));
    }
    let rows = to.saturating_sub(from);
    let mut grid = Vec::new();
    for _ in 0..buckets + PLAIN_COLUMNS {
        let size = reader.count(reader.rest().len())?;
        let bytes = reader.take(size)?;
        if rows > 0 {
            let column = values::Column::parse(bytes)?;
            if column.len() != count {
                return Err(CodecError("a segment's columns differ in length"));
            }
            column.decode_range(from, to, &mut grid)?;
        }
    }
    for row in 0..rows {
        let mut cells = grid.iter().skip(row).step_by(rows).copied();
        let mut next = || cells.next().unwrap_or_default();
        let mut histogram = layout.clone();
        histogram.reset_hint = hint(next())?;
        (histogram.count, histogram.zero_count, histogram.sum) = (next(), next(), next());
        histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets).for_each(|slot| *slot = next());
        out.push(Arc::new(histogram));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::sample::STALE_NAN;

    fn growing(count: u32) -> Vec<Arc<Histogram>> {
        (0..count)
            .map(|i| {
                let n = f64::from(i);
                Arc::new(Histogram {
                    reset_hint: if i == 0 { ResetHint::Unknown } else { ResetHint::NotReset },
                    schema: 3,
                    zero_threshold: 1e-128,
                    zero_count: (n / 9.0).floor(),
                    count: n * 6.0,
                    sum: n * 37.0 / 100.0,
                    positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 4, length: 1 }],
                    positive_buckets: vec![n, n * 2.0, (n / 3.0).floor()],
                    negative_spans: vec![Span { offset: 0, length: 1 }],
                    negative_buckets: vec![n * 2.0],
                    custom_values: Arc::new([]),
                })
            })
            .collect()
    }

    /// Debug prints NaN payloads alike: the sum's bits are compared apart.
    fn render(histograms: &[Arc<Histogram>]) -> Vec<String> {
        histograms.iter().map(|h| format!("{h:?} {:x}", h.sum.to_bits())).collect()
    }

    #[test]
    fn a_series_of_histograms_with_changing_layouts_comes_back() {
        let mut all = growing(300);
        all.push(Arc::new(Histogram { sum: STALE_NAN, ..Histogram::default() }));
        let bounds: Arc<[f64]> = Arc::new([0.1, 1.0]);
        all.extend((0..40).map(|i| {
            Arc::new(Histogram {
                schema: -53,
                count: f64::from(i),
                sum: f64::from(i) / 3.0,
                positive_spans: vec![Span { offset: 0, length: 3 }],
                positive_buckets: vec![f64::from(i), 0.0, 0.5],
                custom_values: Arc::clone(&bounds),
                ..Histogram::default()
            })
        }));
        let mut bytes = Vec::new();
        encode(&all, Effort::Fast, &mut bytes);
        assert!(bytes.len() < 1_100, "{} bytes", bytes.len());
        assert_eq!(len(&bytes), Ok(all.len()));
        for (from, to) in [(0, all.len()), (250, 303), (301, 302), (5, 5), (340, 999)] {
            let mut back = Vec::new();
            decode_range(&bytes, from, to, &mut back).unwrap();
            assert_eq!(render(&back), render(&all[from..to.min(all.len())]), "{from}..{to}");
        }
    }

    #[test]
    fn damage_gives_an_error_or_other_histograms_but_no_panic() {
        let rng = Rng::from_seed(14);
        let mut good = Vec::new();
        encode(&growing(50), Effort::Fast, &mut good);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(2) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            bytes.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
            let _ = decode_range(&bytes, 0, 50, &mut Vec::new());
        }
    }
}
