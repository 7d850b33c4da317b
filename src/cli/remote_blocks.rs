//! Series of a running server by streamed remote read: novascope, Prometheus, or what else speaks it.

use std::sync::Arc;

use prost::Message as _;

use crate::cli::export::Wanted;
use crate::cli::server::{Post, Remote};
use crate::codec::prometheus::{Encoding, histogram, xor};
use crate::export::frames;
use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::parse::parse_selector;
use crate::promql::source::{Column, SeriesSet, SourceError};
use crate::proto::prometheus as wire;
use crate::proto::prometheus::label_matcher::Type;
use crate::proto::prometheus::read_request::ResponseType;

/// Bytes of chunks of two hours that are held; some billion samples.
const WINDOW_BYTES_MAX: usize = 1 << 30;

/// A server, and what is wanted of it.
pub(super) struct Server {
    remote: Remote,
    matchers: Vec<Matcher>,
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Server {
    /// Finds out which times there are, where they were not given.
    pub(super) fn new(from: &Wanted) -> Result<Self, String> {
        let remote = Remote::new(from.server())?;
        let selectors = from.selectors();
        let [selector] = selectors.as_slice() else { return Err("blocks take one --match at most".to_owned()) };
        let matchers = parse_selector(selector).map_err(|error| format!("{selector}: {error}"))?;
        let (mut first, mut last) = from.times()?;
        if first == i64::MIN || last == i64::MAX {
            let status = remote.get_json("/api/v1/status/tsdb")?;
            let time = |name: &str| status["data"]["headStats"][name].as_i64();
            first = if first == i64::MIN { time("minTime").unwrap_or(first) } else { first };
            last = if last == i64::MAX { time("maxTime").unwrap_or(last) } else { last };
        }
        if first == i64::MIN || last == i64::MAX || first > last {
            return Err("the server does not say which times it has, or has none: give --start and --end".to_owned());
        }
        Ok(Self { remote, matchers, first, last })
    }

    /// All series with samples between two times.
    pub(super) fn read(&self, mint: i64, maxt: i64) -> Result<Remotely, String> {
        let matchers = self.matchers.iter().map(|matcher| wire::LabelMatcher {
            r#type: match matcher.op {
                MatchOp::Equal => Type::Eq,
                MatchOp::NotEqual => Type::Neq,
                MatchOp::Regex => Type::Re,
                MatchOp::NotRegex => Type::Nre,
            } as i32,
            name: matcher.name.to_string(),
            value: matcher.value.to_string(),
        });
        let query =
            wire::Query { start_timestamp_ms: mint, end_timestamp_ms: maxt, matchers: matchers.collect(), hints: None };
        let request = wire::ReadRequest {
            queries: vec![query],
            accepted_response_types: vec![ResponseType::StreamedXorChunks as i32],
        };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
        let body = body.map_err(|error| error.to_string())?;
        let mut set = Remotely { mint, maxt, ..Remotely::default() };
        let post = Post { path: "/api/v1/read", media: "application/x-protobuf", encoding: Some("snappy"), body };
        self.remote.post(post, &mut set)?;
        set.finish()
    }
}

/// Series with their chunks as they came. Frames are taken as it is written to.
#[derive(Debug, Default)]
pub(super) struct Remotely {
    mint: i64,
    maxt: i64,
    series: Vec<(Labels, Vec<wire::Chunk>)>,
    pending: Vec<u8>,
    bytes: usize,
}

impl std::io::Write for Remotely {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.pending.extend_from_slice(data);
        let mut rest = self.pending.as_slice();
        let mut frames = Vec::new();
        while let Some(frame) = frames::take(&mut rest).map_err(std::io::Error::other)? {
            frames.push(frame);
        }
        let used = self.pending.len() - rest.len();
        self.pending.drain(..used);
        for series in frames.into_iter().flat_map(|frame| frame.chunked_series) {
            self.bytes += series.chunks.iter().map(|chunk| chunk.data.len()).sum::<usize>();
            if self.bytes > WINDOW_BYTES_MAX {
                let message = "two hours exceed a gibibyte of chunks: narrow the export with --match";
                return Err(std::io::Error::other(message));
            }
            let labels = Labels::from_pairs(series.labels.iter().map(|label| (&label.name, &label.value)));
            match self.series.last_mut().filter(|(last, _)| *last == labels) {
                Some((_, chunks)) => chunks.extend(series.chunks),
                None => self.series.push((labels, series.chunks)),
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Remotely {
    fn finish(mut self) -> Result<Self, String> {
        if !self.pending.is_empty() {
            return Err("the answer ends in the middle of a frame".to_owned());
        }
        // External labels may have changed the order.
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(self)
    }
}

impl SeriesSet for Remotely {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let Some((labels, chunks)) = self.series.get(index) else { return Ok(()) };
        let broken = |error: String| SourceError::Storage(format!("a chunk of {labels}: {error}"));
        let mut histograms: Vec<(i64, Arc<Histogram>)> = Vec::new();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let encoding = u8::try_from(chunk.r#type).unwrap_or(0);
            let encoding = Encoding::from_byte(encoding).map_err(|error| broken(error.to_string()))?;
            times.clear();
            values.clear();
            histograms.clear();
            match encoding {
                Encoding::Xor => xor::decode(&chunk.data, &mut times, &mut values),
                Encoding::Histogram | Encoding::FloatHistogram => {
                    histogram::decode(encoding, &chunk.data, &mut histograms)
                }
            }
            .map_err(|error| broken(error.to_string()))?;
            // Chunks reach beyond what was asked for, and may overlap where samples came late.
            let newest = column.times.last().copied();
            let wanted =
                |time: i64| (self.mint..=self.maxt).contains(&time) && newest.is_none_or(|newest| time > newest);
            for (time, value) in times.iter().zip(&values).filter(|(time, _)| wanted(**time)) {
                column.push_float(*time, 0, *value);
            }
            for (time, histogram) in histograms.iter().filter(|(time, _)| wanted(*time)) {
                column.push_histogram(*time, 0, Arc::clone(histogram));
            }
        }
        Ok(())
    }
}
