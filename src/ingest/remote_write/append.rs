//! From decoded samples to the store: resolves series, counts, and says why something was refused.

use parking_lot::Mutex;

use super::histogram::{Decoded, HistogramError};
use crate::ingest::labels::{self, LabelProblem};
use crate::ingest::recent::Recent;
use crate::ingest::report::Report;
use crate::metrics::{Appender, Float, Refusal, Run, SeriesRef};
use crate::model::exemplar::Exemplar;
use crate::model::metadata::Metadata;
use crate::proto::wire::WireError;

/// Where the samples of one request go.
pub(super) struct Sink<'a> {
    pub appender: Appender<'a>,
    pub known: &'a Recent<SeriesRef>,
    /// Families whose metadata the store has.
    pub described: &'a Recent<()>,
    pub now_secs: u64,
    pub report: Report,
    /// Loose pairs and their canonical form, for series that are not known.
    loose: Vec<u8>,
    encoded: Vec<u8>,
}

/// Series entries that hold nothing but floats: they are looked up and appended together.
#[derive(Debug, Default)]
pub(super) struct Waiting<'b> {
    keys: Vec<u128>,
    /// For each key what its labels are decoded from, and where its samples end.
    entries: Vec<(&'b [u8], usize)>,
    samples: Vec<Float>,
    found: Vec<Option<SeriesRef>>,
    runs: Vec<Run>,
    /// For each of `runs` its place in `entries`.
    places: Vec<usize>,
}

impl<'b> Waiting<'b> {
    /// So many share their locks, and still lie in the second cache of a core.
    const SAMPLES: usize = 1_024;

    /// Samples of one entry that may wait before it is known whose they are: the request, not its sender's claims,
    /// bounds memory.
    const OPEN_MAX: usize = 4_096;

    /// Adds a sample of the entry that is being read; false where it has too many to wait.
    #[inline]
    pub(super) fn push(&mut self, sample: Float) -> bool {
        self.samples.push(sample);
        self.samples.len() - self.closed() < Self::OPEN_MAX
    }

    /// The samples since the last entry belong to this one. Gives whether it is time to flush.
    #[inline]
    pub(super) fn close(&mut self, key: u128, message: &'b [u8]) -> bool {
        self.keys.push(key);
        self.entries.push((message, self.samples.len()));
        self.samples.len() >= Self::SAMPLES
    }

    /// Whether the entry that is being read has samples.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.samples.len() > self.closed()
    }

    /// Forgets the samples of the entry that is being read.
    pub(super) fn take_back(&mut self) {
        self.samples.truncate(self.closed());
    }

    /// Empty, with the buffers that it had.
    fn cleared(mut self) -> Waiting<'static> {
        self.keys.clear();
        self.entries.clear();
        self.samples.clear();
        let Self { keys, entries, samples, found, runs, places } = self;
        // Collecting an empty list of the same layout keeps its buffer.
        let entries = entries.into_iter().map(|(_, end)| (&[][..], end)).collect();
        Waiting { keys, entries, samples, found, runs, places }
    }

    #[inline]
    fn closed(&self) -> usize {
        self.entries.last().map_or(0, |(_, end)| *end)
    }
}

/// What requests learn for each other.
#[derive(Debug)]
pub(super) struct Caches {
    known: Recent<SeriesRef>,
    described: Recent<()>,
    /// Buffers for the next request. Each of its own would walk through fresh memory: an allocator gives what was freed
    /// last out last.
    idle: Mutex<Vec<Waiting<'static>>>,
}

/// Buffers that are kept: requests that are walked at once are as many as there are cores.
const IDLE_MAX: usize = 16;

impl Default for Caches {
    /// A million series in use at once; each costs about 40 bytes.
    fn default() -> Self {
        Self { known: Recent::new(1 << 20), described: Recent::new(1 << 14), idle: Mutex::default() }
    }
}

impl Caches {
    /// Works with a place where samples wait; it is empty before and after.
    pub(super) fn waiting<'b, R>(&self, work: impl FnOnce(&mut Waiting<'b>) -> R) -> R {
        let mut waiting: Waiting<'b> = self.idle.lock().pop().unwrap_or_default();
        let result = work(&mut waiting);
        let waiting = waiting.cleared();
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(waiting);
        }
        result
    }
}

/// Why a series cannot take samples.
#[derive(Debug)]
enum NoSeries {
    Labels(LabelProblem),
    Wire(WireError),
    Refused(Refusal),
}

impl NoSeries {
    fn reason(&self) -> &'static str {
        match self {
            Self::Labels(problem) => problem.reason(),
            Self::Wire(_) => "invalid_labels",
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}

impl std::fmt::Display for NoSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Labels(problem) => problem.fmt(f),
            Self::Wire(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(appender: Appender<'a>, caches: &'a Caches, now_secs: u64) -> Self {
        let Caches { known, described, .. } = caches;
        Self { appender, known, described, now_secs, report: Report::default(), loose: Vec::new(), encoded: Vec::new() }
    }

    /// Appends what waits. `decode` writes the labels of an entry as loose pairs; it is only called for those that
    /// are not known.
    pub(super) fn flush(
        &mut self,
        waiting: &mut Waiting<'_>,
        decode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), WireError>,
    ) {
        let Waiting { keys, entries, samples, found, runs, places } = waiting;
        self.known.get_many(keys, self.now_secs, found);
        runs.clear();
        places.clear();
        let (mut unknown, mut from, mut taken) = (Vec::new(), 0, 0);
        for (place, (series, (_, end))) in found.iter().zip(entries.iter()).enumerate() {
            let mine = from..*end;
            from = *end;
            let Some(series) = *series else {
                unknown.push((place, mine));
                continue;
            };
            taken += mine.len();
            runs.push(Run::new(series, &mine));
            places.push(place);
        }
        let mut refused = Vec::new();
        self.appender.runs(runs, samples, |run, at, refusal| refused.push((places[run], at, refusal)));
        self.report.samples += (taken - refused.len()) as u64;
        for (place, at, refusal) in refused {
            let (key, message) = (keys[place], entries[place].0);
            match refusal {
                Refusal::UnknownSeries => {
                    // It was removed since it was looked up: once more, from its labels.
                    self.known.remove(key);
                    let Float { time, start, value } = samples[at];
                    self.series(key, |into| decode(message, into)).float(time, start, value);
                }
                refusal => self.refuse(&refusal, &|into| decode(message, into)),
            }
        }
        for (place, mine) in unknown {
            let mut series = self.series(keys[place], |into| decode(entries[place].0, into));
            for Float { time, start, value } in &samples[mine] {
                series.float(*time, *start, *value);
            }
        }
        keys.clear();
        entries.clear();
        samples.clear();
    }

    /// The samples that follow belong to this series.
    #[inline]
    pub(super) fn series<D: Fn(&mut Vec<u8>) -> Result<(), WireError>>(
        &mut self,
        key: u128,
        decode: D,
    ) -> Entry<'_, 'a, D> {
        Entry { sink: self, key, decode, series: None }
    }

    pub(super) fn metadata(&mut self, family: &str, metadata: &Metadata) {
        self.appender.metadata(family, metadata);
    }

    /// What became of the request, and the appender to commit.
    pub(super) fn finish(self) -> (Report, Appender<'a>) {
        (self.report, self.appender)
    }

    fn resolve(
        &mut self,
        key: u128,
        decode: &impl Fn(&mut Vec<u8>) -> Result<(), WireError>,
    ) -> Result<SeriesRef, NoSeries> {
        if let Some(series) = self.known.get(key, self.now_secs) {
            return Ok(series);
        }
        self.loose.clear();
        decode(&mut self.loose).map_err(NoSeries::Wire)?;
        labels::canonical(&self.loose, &mut self.encoded).map_err(NoSeries::Labels)?;
        let series = self.appender.series(&self.encoded).map_err(NoSeries::Refused)?;
        self.known.insert(key, series, self.now_secs);
        Ok(series)
    }

    #[cold]
    fn refuse(&mut self, refusal: &Refusal, decode: &dyn Fn(&mut Vec<u8>) -> Result<(), WireError>) {
        self.report.note(refusal);
        let loose = &mut self.loose;
        self.report.reject(refusal.reason(), 1, || {
            loose.clear();
            // A message without labels is better than none.
            let _ = decode(loose);
            format!("{refusal} for series {}", labels::display(loose))
        });
    }
}

/// One series of the request; it is looked up at its first sample.
pub(super) struct Entry<'s, 'a, D> {
    sink: &'s mut Sink<'a>,
    key: u128,
    decode: D,
    series: Option<Result<SeriesRef, NoSeries>>,
}

impl<D: Fn(&mut Vec<u8>) -> Result<(), WireError>> Entry<'_, '_, D> {
    pub(super) fn float(&mut self, time: i64, start: i64, value: f64) {
        if self.append(|appender, series| appender.float(series, time, start, value)) {
            self.sink.report.samples += 1;
        }
    }

    /// # Errors
    /// Where the bytes of the histogram are no message.
    pub(super) fn histogram(&mut self, decoded: Result<Decoded, HistogramError>) -> Result<(), WireError> {
        match decoded {
            Ok(Decoded { time, start, histogram }) => {
                if self.append(|appender, series| appender.histogram(series, time, start, &histogram)) {
                    self.sink.report.histograms += 1;
                }
            }
            Err(HistogramError::Wire(error)) => return Err(error),
            Err(error) => self.reject("invalid_histogram", &error),
        }
        Ok(())
    }

    /// Exemplars that are refused are dropped without a word, as Prometheus does: their samples count.
    pub(super) fn exemplar(&mut self, exemplar: Option<Exemplar>) {
        let Some(exemplar) = exemplar else { return };
        if let Ok(series) = *self.find()
            && self.sink.appender.exemplar(series, &exemplar).is_ok()
        {
            self.sink.report.exemplars += 1;
        }
    }

    /// Refuses one sample for a reason of its own.
    pub(super) fn reject(&mut self, reason: &'static str, why: &dyn std::fmt::Display) {
        let (loose, decode) = (&mut self.sink.loose, &self.decode);
        self.sink.report.reject(reason, 1, || {
            loose.clear();
            let _ = decode(loose);
            format!("{why} for series {}", labels::display(loose))
        });
    }

    fn find(&mut self) -> &Result<SeriesRef, NoSeries> {
        let (sink, key, decode) = (&mut *self.sink, self.key, &self.decode);
        self.series.get_or_insert_with(|| sink.resolve(key, decode))
    }

    fn append(
        &mut self,
        mut place: impl FnMut(&mut crate::metrics::Appender<'_>, SeriesRef) -> Result<(), Refusal>,
    ) -> bool {
        for _ in 0..2 {
            let series = match self.find() {
                Ok(series) => *series,
                Err(problem) => {
                    let (reason, text) = (problem.reason(), problem.to_string());
                    if let NoSeries::Refused(refusal) = problem {
                        let refusal = refusal.clone();
                        self.sink.report.note(&refusal);
                    }
                    self.reject(reason, &text);
                    return false;
                }
            };
            match place(&mut self.sink.appender, series) {
                Ok(()) => return true,
                // The series was removed since it was looked up: once more, from its labels.
                Err(Refusal::UnknownSeries) => {
                    self.sink.known.remove(self.key);
                    self.series = None;
                }
                Err(refusal) => {
                    self.sink.refuse(&refusal, &self.decode);
                    return false;
                }
            }
        }
        self.reject(Refusal::UnknownSeries.reason(), &Refusal::UnknownSeries);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_a_request_are_used_by_the_next() {
        let caches = Caches::default();
        let body = *b"message";
        let before = caches.waiting(|waiting| {
            (0..700).for_each(|key| assert!(!waiting.close(key, &body)));
            (waiting.keys.as_ptr(), waiting.entries.as_ptr().addr())
        });
        caches.waiting(|waiting| {
            assert!(waiting.keys.is_empty() && waiting.entries.is_empty());
            assert_eq!((waiting.keys.as_ptr(), waiting.entries.as_ptr().addr()), before);
        });
    }
}
