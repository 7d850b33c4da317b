//! Remote write 2.0: `io.prometheus.write.v2.Request`, walked in place.
//!
//! Strings stand once in a table; a series refers to them by number. The numbers differ from request to request, so a
//! series is known by the hashes of its strings, each of which is hashed once a request.

use hashbrown::HashSet;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::append::{Sink, Waiting};
use super::histogram;
use super::v1::metric_type;
use crate::ingest::labels::{self, LABELS_MAX};
use crate::metrics::Float;
use crate::model::exemplar::Exemplar;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::metadata::{Metadata, MetricType};
use crate::proto::wire::{Field, Reader, Value, WireError};

/// A request with more strings than this is refused: each costs 32 bytes of table for as few as two on the wire.
pub(super) const SYMBOLS_MAX: usize = 1 << 20;

/// Tag of `Request`'s series.
const TIMESERIES: u8 = 0x2a;

/// Tags of `TimeSeries`' fields.
const LABELS_REFS: u8 = 0x0a;
const SAMPLE: u8 = 0x12;
const METADATA: u8 = 0x2a;

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
struct Scratch<'b> {
    /// The last series' metric name and what it said of its family: those of a family stand together.
    last: (u32, &'b [u8]),
    /// Families that this request has described, by the numbers of name, help and unit, and the type.
    described: HashSet<[u32; 4]>,
}

/// Walks a request and appends what is in it.
///
/// # Errors
/// Where the bytes are no write request. What came before is appended.
pub(super) fn take<'b>(body: &'b [u8], sink: &mut Sink<'_>, waiting: &mut Waiting<'b>) -> Result<(), RequestError> {
    let request = Request { symbols: Symbols::of(body)? };
    let walked = request.walk(body, &mut Scratch::default(), (&mut *sink, &mut *waiting));
    sink.flush(waiting, |message, into| request.checked_labels(message, into));
    walked.map_err(RequestError::Wire)
}

struct Request<'b> {
    symbols: Symbols<'b>,
}

/// The strings that the series of a request refer to, with their hashes beside them: known series need no more.
struct Symbols<'b> {
    texts: Vec<&'b [u8]>,
    hashes: Vec<[u64; 2]>,
    /// The hash of `__name__`.
    name: [u64; 2],
}

fn hash_of(text: &[u8]) -> [u64; 2] {
    let hash = xxh3_128(text);
    [hash as u64, (hash >> 64) as u64]
}

impl<'b> Symbols<'b> {
    fn of(body: &'b [u8]) -> Result<Self, RequestError> {
        let mut symbols = Self { texts: Vec::new(), hashes: Vec::new(), name: hash_of(METRIC_NAME.as_bytes()) };
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field()? {
            if field.number == 4 {
                if symbols.texts.len() >= SYMBOLS_MAX {
                    return Err(RequestError::TooManySymbols);
                }
                symbols.texts.push(field.bytes()?);
                symbols.hashes.push(hash_of(field.bytes()?));
            }
        }
        Ok(symbols)
    }

    fn text(&self, reference: u64) -> Option<&'b [u8]> {
        self.texts.get(usize::try_from(reference).ok()?).copied()
    }
}

/// Odd factors for every place that a string may have in a series.
type Factors = [u64; 2 * LABELS_MAX];

/// Those of the two halves lie apart: side by side they are taken for a vector, and vectors of such numbers multiply slowly.
static FACTORS: [Factors; 2] = [factors(0), factors(0x5851_f42d_4c95_7f2d)];

const fn factors(seed: u64) -> Factors {
    let (mut factors, mut state, mut at) = ([0; 2 * LABELS_MAX], seed, 0);
    while at < 2 * LABELS_MAX {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        factors[at] = (mixed ^ (mixed >> 31)) | 1;
        at += 1;
    }
    factors
}

/// Who a series is, gathered from its references: each string's hash times the factor of its place, summed. No
/// product waits for another, and no string is touched.
#[derive(Clone, Copy, Default)]
struct Identity {
    sums: [u64; 2],
    count: usize,
    /// Where the metric name's value stands among the references, and its number.
    name_at: Option<usize>,
    name: u32,
    is_bad: bool,
}

impl Identity {
    #[inline]
    fn add(&mut self, reference: u64, symbols: &Symbols<'_>) {
        let hash = usize::try_from(reference).ok().and_then(|at| symbols.hashes.get(at));
        let [low, high] = [&FACTORS[0], &FACTORS[1]].map(|factors| factors.get(self.count));
        let (Some(hash), Some(low), Some(high)) = (hash, low, high) else {
            self.is_bad = true;
            return;
        };
        self.sums[0] = self.sums[0].wrapping_add(hash[0].wrapping_mul(*low));
        self.sums[1] = self.sums[1].wrapping_add(hash[1].wrapping_mul(*high));
        if self.name_at == Some(self.count) {
            // A number that exists fits: there are fewer strings than 2^32.
            self.name = reference as u32;
        } else if *hash == symbols.name && self.count.is_multiple_of(2) && self.name_at.is_none() {
            self.name_at = Some(self.count + 1);
        }
        self.count += 1;
    }

    /// Takes a repeated field of references, packed or not.
    fn gather(&mut self, field: &Field<'_>, symbols: &Symbols<'_>) -> Result<(), WireError> {
        match field.value {
            Value::Bytes(packed) => self.gather_packed(packed, symbols),
            _ => field.uint().map(|reference| self.add(reference, symbols)),
        }
    }

    #[inline]
    fn gather_packed(&mut self, packed: &[u8], symbols: &Symbols<'_>) -> Result<(), WireError> {
        let mut reader = Reader::new(packed);
        // A copy stays in registers.
        let mut own = *self;
        loop {
            while let Some(reference) = reader.short_varint() {
                own.add(reference, symbols);
            }
            if reader.is_empty() {
                *self = own;
                return Ok(());
            }
            own.add(reader.varint()?, symbols);
        }
    }

    /// What the series is known by; `None` where its references are wrong.
    fn key(&self) -> Option<u128> {
        let [low, high] = self.sums.map(u128::from);
        (!self.is_bad && self.count.is_multiple_of(2)).then_some(high << 64 | low)
    }

    fn name<'b>(&self, symbols: &Symbols<'b>) -> &'b [u8] {
        self.name_at.and_then(|_| symbols.text(u64::from(self.name))).unwrap_or_default()
    }
}

/// Looks the strings up; `Err` says what is wrong with the numbers.
fn resolve(refs: &[u64], symbols: &Symbols<'_>, loose: &mut Vec<u8>) -> Result<(), String> {
    loose.clear();
    if !refs.len().is_multiple_of(2) {
        return Err(format!("labels_refs has {} entries, which is no multiple of 2", refs.len()));
    }
    if refs.len() > 2 * LABELS_MAX {
        return Err(format!("more than {LABELS_MAX} labels"));
    }
    for reference in refs {
        let missing = || format!("symbol {reference} of {} does not exist", symbols.texts.len());
        labels::put(loose, symbols.text(*reference).ok_or_else(missing)?);
    }
    Ok(())
}

impl<'b> Request<'b> {
    fn walk(
        &self,
        body: &'b [u8],
        scratch: &mut Scratch<'b>,
        (sink, waiting): (&mut Sink<'_>, &mut Waiting<'b>),
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(body);
        loop {
            while reader.take_tag(TIMESERIES) {
                self.series(reader.delimited()?, scratch, (&mut *sink, &mut *waiting))?;
            }
            let Some(field) = reader.next_field()? else { return Ok(()) };
            if field.number == 5 {
                self.series(field.bytes()?, scratch, (&mut *sink, &mut *waiting))?;
            }
        }
    }

    /// The labels of a series, or what is wrong with its references.
    fn labels(&self, message: &[u8], loose: &mut Vec<u8>) -> Result<Result<(), String>, WireError> {
        let mut refs = Vec::new();
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 1 {
                field.append_uints(&mut refs)?;
            }
        }
        Ok(resolve(&refs, &self.symbols, loose))
    }

    /// The labels of a series whose references were checked when it was walked.
    fn checked_labels(&self, message: &[u8], loose: &mut Vec<u8>) -> Result<(), WireError> {
        self.labels(message, loose).map(|_| ())
    }

    fn series(
        &self,
        message: &'b [u8],
        scratch: &mut Scratch<'b>,
        (sink, waiting): (&mut Sink<'_>, &mut Waiting<'b>),
    ) -> Result<(), WireError> {
        let mut identity = Identity::default();
        let (mut samples, mut others, mut fits, mut described) = (0_u64, 0_u64, true, None);
        let mut reader = Reader::new(message);
        // The order that every encoder uses.
        if reader.take_tag(LABELS_REFS) {
            identity.gather_packed(reader.delimited()?, &self.symbols)?;
        }
        if reader.take_tag(SAMPLE) {
            let (value, time, start) = sample(reader.delimited()?)?;
            (samples, fits) = (1, waiting.push(Float { time, start, value }));
        }
        if reader.take_tag(METADATA) {
            described = Some(reader.delimited()?);
        }
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => identity.gather(&field, &self.symbols)?,
                2 => {
                    samples += 1;
                    if fits && others == 0 {
                        let (value, time, start) = sample(field.bytes()?)?;
                        fits = waiting.push(Float { time, start, value });
                    }
                }
                3 | 4 => others += 1,
                5 => described = Some(field.bytes()?),
                _ => {}
            }
        }
        let Some(key) = identity.key() else {
            waiting.take_back();
            let problem = self.labels(message, &mut Vec::new())?.err().unwrap_or_default();
            sink.report.reject("invalid_labels", (samples + others).max(1), || problem);
            return Ok(());
        };
        if let Some(described) = described
            && (identity.name, described) != scratch.last
        {
            let name = (identity.name, identity.name(&self.symbols));
            described_by(described, &self.symbols)?.pass_on(name, &mut scratch.described, sink);
            scratch.last = (identity.name, described);
        }
        if fits && others == 0 && waiting.is_open() {
            if waiting.close(key, message) {
                sink.flush(waiting, |message, into| self.checked_labels(message, into));
            }
            return Ok(());
        }
        waiting.take_back();
        // Samples of one series keep the order of the request.
        sink.flush(waiting, |message, into| self.checked_labels(message, into));
        self.many(message, key, sink)
    }

    /// A series with more than floats, or very many.
    fn many(&self, message: &[u8], key: u128, sink: &mut Sink<'_>) -> Result<(), WireError> {
        let mut is_empty = true;
        let mut series = sink.series(key, |into| self.checked_labels(message, into));
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            is_empty &= !matches!(field.number, 2 | 3);
            match field.number {
                2 => {
                    let (value, time, start) = sample(field.bytes()?)?;
                    series.float(time, start, value);
                }
                3 => series.histogram(histogram::decode(field.bytes()?))?,
                4 => {
                    let exemplar = exemplar(field.bytes()?, &self.symbols)?;
                    series.exemplar(exemplar);
                }
                _ => {}
            }
        }
        if is_empty {
            series.reject("no_samples", &"no sample or histogram");
        }
        Ok(())
    }
}

/// What a series says of its family.
#[derive(Clone, Copy)]
struct Described<'a> {
    kind: MetricType,
    help: &'a [u8],
    unit: &'a [u8],
    /// Their numbers in the table of strings.
    refs: [u32; 2],
}

impl Described<'_> {
    /// Every series repeats type, unit and help of its family: they are only passed on where they are new, to this
    /// request and then to all.
    fn pass_on(&self, (number, name): (u32, &[u8]), seen: &mut HashSet<[u32; 4]>, sink: &mut Sink<'_>) {
        if self.kind == MetricType::Unknown && self.help.is_empty() && self.unit.is_empty() {
            return;
        }
        if !seen.insert([self.kind as u32, number, self.refs[0], self.refs[1]]) {
            return;
        }
        let family = family(name, self.kind);
        let mut hash = Xxh3::new();
        hash.update(&[self.kind as u8]);
        hash.update(&(family.len() as u64).to_le_bytes());
        hash.update(family.as_bytes());
        hash.update(&(self.help.len() as u64).to_le_bytes());
        hash.update(self.help);
        hash.update(self.unit);
        let key = hash.digest128();
        if !family.is_empty() && sink.described.get(key, sink.now_secs).is_none() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let metadata = Metadata { kind: self.kind, unit: text(self.unit), help: text(self.help) };
            sink.appender.metadata(family, &metadata);
            sink.described.insert(key, (), sink.now_secs);
        }
    }
}

/// The family that a series belongs to: its metric name without the suffix that its type adds.
fn family(name: &[u8], kind: MetricType) -> &str {
    use MetricType::{GaugeHistogram, Histogram, Summary};
    let name = std::str::from_utf8(name).unwrap_or_default();
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
    // The order that every encoder uses.
    if reader.take_tag(0x09) {
        value = f64::from_bits(reader.fixed64()?);
    }
    if reader.take_tag(0x10) {
        time = reader.last_varint(message)?.cast_signed();
    }
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

fn exemplar(message: &[u8], symbols: &Symbols<'_>) -> Result<Option<Exemplar>, WireError> {
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

fn described_by<'a>(message: &[u8], symbols: &Symbols<'a>) -> Result<Described<'a>, WireError> {
    let text = |reference: u32| symbols.text(u64::from(reference)).unwrap_or_default();
    let mut described = Described { kind: MetricType::Unknown, help: &[], unit: &[], refs: [0; 2] };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => described.kind = metric_type(field.uint()?),
            3 => described.refs[0] = u32::try_from(field.uint()?).unwrap_or_default(),
            4 => described.refs[1] = u32::try_from(field.uint()?).unwrap_or_default(),
            _ => {}
        }
    }
    (described.help, described.unit) = (text(described.refs[0]), text(described.refs[1]));
    Ok(described)
}
