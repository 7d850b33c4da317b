//! The records inside Prometheus' write-ahead log.

use std::sync::Arc;

use super::cursor::{Cursor, TsdbError};
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::metadata::{Metadata, MetricType};

/// One entry of a record. References are those of earlier `Series` entries.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Series {
        reference: u64,
        labels: Labels,
    },
    Float {
        reference: u64,
        time: i64,
        start: i64,
        value: f64,
    },
    Histogram {
        reference: u64,
        time: i64,
        start: i64,
        value: Arc<Histogram>,
    },
    /// The samples of a series in a range, ends included, were deleted.
    Tombstone {
        reference: u64,
        mint: i64,
        maxt: i64,
    },
    Metadata {
        reference: u64,
        metadata: Metadata,
    },
}

/// The first byte of records that hold deletions.
pub const TOMBSTONES: u8 = 3;

/// Appends the entries of a record; kinds that carry no samples of ours (exemplars, markers) add nothing.
pub fn decode(record: &[u8], out: &mut Vec<Entry>) -> Result<(), TsdbError> {
    let mut cursor = Cursor::new(record, 0);
    if cursor.is_at_end() {
        return Ok(());
    }
    match cursor.byte()? {
        1 => each(&mut cursor, |cursor| out_series(cursor, out)),
        2 => samples_v1(&mut cursor, |cursor, at| {
            out.push(at.float(0, cursor.float()?));
            Ok(())
        }),
        TOMBSTONES => each(&mut cursor, |cursor| {
            out.push(Entry::Tombstone { reference: cursor.be64()?, mint: cursor.varint()?, maxt: cursor.varint()? });
            Ok(())
        }),
        6 => each(&mut cursor, |cursor| out_metadata(cursor, out)),
        kind @ (7..=10) => samples_v1(&mut cursor, |cursor, at| {
            out.extend(read_histogram(cursor, matches!(kind, 8 | 10))?.map(|value| at.histogram(0, value)));
            Ok(())
        }),
        11 => samples_v2(&mut cursor, |cursor, at, start| {
            out.push(at.float(start, cursor.float()?));
            Ok(())
        }),
        kind @ (12 | 13) => samples_v2(&mut cursor, |cursor, at, start| {
            out.extend(read_histogram(cursor, kind == 13)?.map(|value| at.histogram(start, value)));
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// A series and a time.
#[derive(Clone, Copy)]
struct At {
    reference: u64,
    time: i64,
}

impl At {
    fn float(self, start: i64, value: f64) -> Entry {
        Entry::Float { reference: self.reference, time: self.time, start, value }
    }

    fn histogram(self, start: i64, value: Histogram) -> Entry {
        Entry::Histogram { reference: self.reference, time: self.time, start, value: Arc::new(value) }
    }
}

fn each<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<(), TsdbError>,
) -> Result<(), TsdbError> {
    while !cursor.is_at_end() {
        read(cursor)?;
    }
    Ok(())
}

/// Entries relative to the reference and time at the head of the record.
fn samples_v1<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>, At) -> Result<(), TsdbError>,
) -> Result<(), TsdbError> {
    if cursor.is_at_end() {
        return Ok(());
    }
    let (reference, time) = (cursor.be64()?, cursor.be64()? as i64);
    each(cursor, |cursor| {
        let at = At {
            reference: reference.wrapping_add_signed(cursor.varint()?),
            time: time.wrapping_add(cursor.varint()?),
        };
        read(cursor, at)
    })
}

/// References relative to the entry before, times and start timestamps to the first.
fn samples_v2<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>, At, i64) -> Result<(), TsdbError>,
) -> Result<(), TsdbError> {
    if cursor.is_at_end() {
        return Ok(());
    }
    let mut at = At { reference: cursor.varint()? as u64, time: cursor.varint()? };
    let (first_time, first_start) = (at.time, cursor.varint()?);
    let mut start = first_start;
    read(cursor, at, start)?;
    each(cursor, |cursor| {
        at.reference = at.reference.wrapping_add_signed(cursor.varint()?);
        at.time = first_time.wrapping_add(cursor.varint()?);
        start = match cursor.byte()? {
            0 => 0,
            1 => start,
            _ => first_start.wrapping_add(cursor.varint()?),
        };
        read(cursor, at, start)
    })
}

fn out_series(cursor: &mut Cursor<'_>, out: &mut Vec<Entry>) -> Result<(), TsdbError> {
    let reference = cursor.be64()?;
    let mut builder = LabelsBuilder::default();
    for _ in 0..cursor.count()? {
        let name = cursor.string()?;
        builder.set(name, cursor.string()?);
    }
    out.push(Entry::Series { reference, labels: builder.build() });
    Ok(())
}

fn out_metadata(cursor: &mut Cursor<'_>, out: &mut Vec<Entry>) -> Result<(), TsdbError> {
    let reference = cursor.uvarint()?;
    let kind = match cursor.byte()? {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    };
    let mut metadata = Metadata { kind, ..Metadata::default() };
    for _ in 0..cursor.count()? {
        match (cursor.string()?, cursor.string()?) {
            ("UNIT", unit) => unit.clone_into(&mut metadata.unit),
            ("HELP", help) => help.clone_into(&mut metadata.help),
            _ => {}
        }
    }
    out.push(Entry::Metadata { reference, metadata });
    Ok(())
}

/// `None` for a schema that is not known, which is left out.
fn read_histogram(cursor: &mut Cursor<'_>, is_float: bool) -> Result<Option<Histogram>, TsdbError> {
    let reset_hint = match cursor.byte()? {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let schema = cursor.varint()?;
    let zero_threshold = cursor.float()?;
    let (zero_count, count) = if is_float {
        (cursor.float()?, cursor.float()?)
    } else {
        (cursor.uvarint()? as f64, cursor.uvarint()? as f64)
    };
    let sum = cursor.float()?;
    let (positive_spans, negative_spans) = (read_spans(cursor)?, read_spans(cursor)?);
    let positive_buckets = read_buckets(cursor, is_float)?;
    let negative_buckets = read_buckets(cursor, is_float)?;
    let custom_values = if schema == i64::from(CUSTOM_BUCKETS_SCHEMA) {
        (0..cursor.count()?).map(|_| cursor.float()).collect::<Result<_, _>>()?
    } else {
        Arc::from([])
    };
    let known = i8::try_from(schema).ok().filter(|s| (-4..=8).contains(s) || *s == CUSTOM_BUCKETS_SCHEMA);
    Ok(known.map(|schema| Histogram {
        reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        custom_values,
    }))
}

fn read_spans(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, TsdbError> {
    (0..cursor.count()?)
        .map(|_| {
            let (offset, length) = (cursor.varint()?, cursor.uvarint()?);
            match (i32::try_from(offset), u32::try_from(length)) {
                (Ok(offset), Ok(length)) => Ok(Span { offset, length }),
                _ => Err(cursor.malformed("a span out of range")),
            }
        })
        .collect()
}

/// Absolute counts; integer histograms store differences to the neighbour.
fn read_buckets(cursor: &mut Cursor<'_>, is_float: bool) -> Result<Vec<f64>, TsdbError> {
    let mut running = 0_i64;
    (0..cursor.count()?)
        .map(|_| {
            if is_float {
                return cursor.float();
            }
            running = running.wrapping_add(cursor.varint()?);
            Ok(running as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn series_and_samples_are_read() {
        let mut series = vec![1];
        series.extend(7_u64.to_be_bytes());
        series.extend(b"\x01\x03job\x02vm");
        let mut samples = vec![2];
        samples.extend(7_u64.to_be_bytes());
        samples.extend(1_000_i64.to_be_bytes());
        for (delta, value) in [(0_u8, 1.0_f64), (20, 2.0)] {
            samples.extend([0, delta]);
            samples.extend(value.to_bits().to_be_bytes());
        }
        let mut out = Vec::new();
        decode(&series, &mut out).unwrap();
        decode(&samples, &mut out).unwrap();
        assert_eq!(
            out,
            [
                Entry::Series { reference: 7, labels: Labels::from_pairs([("job", "vm")]) },
                Entry::Float { reference: 7, time: 1_000, start: 0, value: 1.0 },
                Entry::Float { reference: 7, time: 1_010, start: 0, value: 2.0 },
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..15) {
            let mut record = vec![kind];
            record.extend(bytes);
            let _ = decode(&record, &mut Vec::new());
        }
    }
}
