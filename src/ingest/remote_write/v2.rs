//! Remote write 2.0: `io.prometheus.write.v2.Request`, walked in place.
//!
//! Strings stand once in a table; a series refers to them by number. The numbers differ from request to request, so a
//! series is known by the hash of its strings, which are put together in a reused buffer.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::append::Sink;
use super::histogram;
use super::v1::metric_type;
use crate::ingest::labels::{self, LABELS_MAX};
use crate::model::exemplar::Exemplar;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::metadata::{Metadata, MetricType};
use crate::proto::wire::{Reader, WireError};

/// A request with more strings than this is refused: each costs 16 bytes of table for as few as two on the wire.
pub(super) const SYMBOLS_MAX: usize = 2 << 20;

/// Why a request cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the request has more than {SYMBOLS_MAX} symbols")]
    TooManySymbols,
}

/// Room that one series after the other uses.
#[derive(Default)]
struct Scratch {
    refs: Vec<u64>,
    loose: Vec<u8>,
}

/// Walks a request and appends what is in it.
///
/// # Errors
/// Where the bytes are no write request. What came before is appended.
pub(super) fn take(body: &[u8], sink: &mut Sink<'_>) -> Result<(), RequestError> {
    let symbols = symbols(body)?;
    let mut scratch = Scratch::default();
    let mut reader = Reader::new(body);
    while let Some(field) = reader.next_field()? {
        if field.number == 5 {
            series(field.bytes()?, &symbols, &mut scratch, sink)?;
        }
    }
    Ok(())
}

fn symbols(body: &[u8]) -> Result<Vec<&[u8]>, RequestError> {
    let mut symbols = Vec::new();
    let mut reader = Reader::new(body);
    while let Some(field) = reader.next_field()? {
        if field.number == 4 {
            if symbols.len() >= SYMBOLS_MAX {
                return Err(RequestError::TooManySymbols);
            }
            symbols.push(field.bytes()?);
        }
    }
    Ok(symbols)
}

/// Looks the strings up; `Err` says what is wrong with the numbers.
fn resolve(refs: &[u64], symbols: &[&[u8]], loose: &mut Vec<u8>) -> Result<(), String> {
    loose.clear();
    if !refs.len().is_multiple_of(2) {
        return Err(format!("labels_refs has {} entries, which is no multiple of 2", refs.len()));
    }
    if refs.len() > 2 * LABELS_MAX {
        return Err(format!("more than {LABELS_MAX} labels"));
    }
    for reference in refs {
        let symbol = usize::try_from(*reference).ok().and_then(|at| symbols.get(at));
        let symbol = symbol.ok_or_else(|| format!("symbol {reference} of {} does not exist", symbols.len()))?;
        labels::put(loose, symbol);
    }
    Ok(())
}

fn series(message: &[u8], symbols: &[&[u8]], scratch: &mut Scratch, sink: &mut Sink<'_>) -> Result<(), WireError> {
    scratch.refs.clear();
    let (mut samples, mut described) = (0_u64, None);
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => field.append_uints(&mut scratch.refs)?,
            2 | 3 => samples += 1,
            5 => described = Some(described_by(field.bytes()?, symbols)?),
            _ => {}
        }
    }
    if let Err(problem) = resolve(&scratch.refs, symbols, &mut scratch.loose) {
        sink.report.reject("invalid_labels", samples.max(1), || problem);
        return Ok(());
    }
    let loose: &[u8] = &scratch.loose;
    if samples == 0 {
        sink.report.reject("no_samples", 1, || format!("no sample or histogram in series {}", labels::display(loose)));
        return Ok(());
    }
    let refused_before = sink.report.rejected();
    let mut series = sink.series(xxh3_128(loose), |into| {
        into.extend_from_slice(loose);
        Ok(())
    });
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => {
                let (value, time, start) = sample(field.bytes()?)?;
                series.float(time, start, value);
            }
            3 => series.histogram(histogram::decode(field.bytes()?))?,
            4 => {
                let exemplar = exemplar(field.bytes()?, symbols)?;
                series.exemplar(exemplar);
            }
            _ => {}
        }
    }
    let some_stored = sink.report.rejected() - refused_before < samples;
    if let Some(described) = described.filter(|described| some_stored && !described.is_empty()) {
        describe(loose, &described, sink);
    }
    Ok(())
}

/// What a series says of its family.
#[derive(Clone, Copy)]
struct Described<'a> {
    kind: MetricType,
    help: &'a [u8],
    unit: &'a [u8],
}

impl Described<'_> {
    fn is_empty(&self) -> bool {
        self.kind == MetricType::Unknown && self.help.is_empty() && self.unit.is_empty()
    }
}

/// Every series repeats type, unit and help of its family: they are only passed on where they are new.
fn describe(loose: &[u8], described: &Described<'_>, sink: &mut Sink<'_>) {
    let family = family(loose, described.kind);
    let mut hash = Xxh3::new();
    hash.update(&[described.kind as u8]);
    hash.update(&(family.len() as u64).to_le_bytes());
    hash.update(family.as_bytes());
    hash.update(&(described.help.len() as u64).to_le_bytes());
    hash.update(described.help);
    hash.update(described.unit);
    let key = hash.digest128();
    if sink.described.get(key, sink.now_secs).is_none() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let metadata = Metadata { kind: described.kind, unit: text(described.unit), help: text(described.help) };
        sink.appender.metadata(family, &metadata);
        sink.described.insert(key, (), sink.now_secs);
    }
}

/// The family that a series belongs to: its metric name without the suffix that its type adds.
fn family(loose: &[u8], kind: MetricType) -> &str {
    use MetricType::{GaugeHistogram, Histogram, Summary};
    let mut reader = Reader::new(loose);
    let mut name = "";
    while let (Ok(label), Ok(value)) = (reader.delimited(), reader.delimited()) {
        if label == METRIC_NAME.as_bytes() {
            name = std::str::from_utf8(value).unwrap_or_default();
            break;
        }
        if reader.is_empty() {
            break;
        }
    }
    let suffixes: &[&str] = match kind {
        Histogram | GaugeHistogram => &["_bucket", "_sum", "_count"],
        Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[inline]
fn sample(message: &[u8]) -> Result<(f64, i64, i64), WireError> {
    let (mut value, mut time, mut start) = (0.0, 0, 0);
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => value = field.double()?,
            2 => time = field.int()?,
            3 => start = field.int()?,
            _ => {}
        }
    }
    Ok((value, time, start))
}

fn exemplar(message: &[u8], symbols: &[&[u8]]) -> Result<Option<Exemplar>, WireError> {
    let (mut value, mut time) = (0.0, 0);
    let mut refs = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => field.append_uints(&mut refs)?,
            2 => value = field.double()?,
            3 => time = field.int()?,
            _ => {}
        }
    }
    let (mut loose, mut encoded) = (Vec::new(), Vec::new());
    if resolve(&refs, symbols, &mut loose).is_err() || labels::canonical_nameless(&loose, &mut encoded).is_err() {
        return Ok(None);
    }
    Ok(Labels::from_encoded(&encoded).ok().map(|labels| Exemplar { labels, value, time }))
}

fn described_by<'a>(message: &[u8], symbols: &[&'a [u8]]) -> Result<Described<'a>, WireError> {
    let text =
        |reference: u64| usize::try_from(reference).ok().and_then(|at| symbols.get(at)).copied().unwrap_or_default();
    let mut described = Described { kind: MetricType::Unknown, help: &[], unit: &[] };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => described.kind = metric_type(field.uint()?),
            3 => described.help = text(field.uint()?),
            4 => described.unit = text(field.uint()?),
            _ => {}
        }
    }
    Ok(described)
}
