//! Cuts columns of samples into chunks as Prometheus' store has them: one kind of sample each, 120 at most.

use std::sync::Arc;

use super::{Encoding, histogram, xor};
use crate::model::histogram::Histogram;

/// Samples of a chunk. Prometheus cuts there too: readers decode a chunk whole to find one sample.
pub const SAMPLES_MAX: usize = 120;

/// A chunk without its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub encoding: Encoding,
    pub mint: i64,
    pub maxt: i64,
    pub samples: usize,
    pub data: Vec<u8>,
}

/// Appends the chunks of a series. Times ascend; `histograms` is empty or has an entry for each time, which then stands
/// before the float.
pub fn cut(times: &[i64], values: &[f64], histograms: &[Option<Arc<Histogram>>], into: &mut Vec<Chunk>) {
    let mut at = 0;
    while at < times.len() {
        let kind = |place: usize| histograms.get(place).is_some_and(Option::is_some);
        let is_histogram = kind(at);
        let limit = times.len().min(at + SAMPLES_MAX);
        let end = (at + 1..limit).find(|place| kind(*place) != is_histogram).unwrap_or(limit);
        if is_histogram {
            cut_histograms(&times[at..end], &histograms[at..end], into);
        } else {
            let data = xor::encode(&times[at..end], &values[at..end]);
            let (mint, maxt) = (times[at], times[end - 1]);
            into.push(Chunk { encoding: Encoding::Xor, mint, maxt, samples: end - at, data });
        }
        at = end;
    }
}

fn cut_histograms(times: &[i64], histograms: &[Option<Arc<Histogram>>], into: &mut Vec<Chunk>) {
    let pairs = times.iter().zip(histograms);
    let run: Vec<_> = pairs.filter_map(|(time, histogram)| Some((*time, histogram.clone()?))).collect();
    for chunk in histogram::encode(&run) {
        let samples = chunk.data.first_chunk().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        let histogram::EncodedChunk { mint, maxt, data } = chunk;
        into.push(Chunk { encoding: Encoding::FloatHistogram, mint, maxt, samples, data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::STALE_NAN;

    #[test]
    fn floats_and_histograms_take_turns() {
        let histogram = |count: f64| Some(Arc::new(Histogram { count, ..Histogram::default() }));
        let times: Vec<i64> = (0..300).map(|second| second * 1_000).collect();
        let mut values = vec![1.0; 300];
        values[1] = STALE_NAN;
        let mut histograms = vec![None; 300];
        histograms[200..250].fill(histogram(3.0));
        let mut chunks = Vec::new();
        cut(&times, &values, &histograms, &mut chunks);
        let shape: Vec<_> = chunks.iter().map(|c| (c.encoding, c.samples, c.mint, c.maxt)).collect();
        use Encoding::{FloatHistogram, Xor};
        let expect = [
            (Xor, 120, 0, 119_000),
            (Xor, 80, 120_000, 199_000),
            (FloatHistogram, 50, 200_000, 249_000),
            (Xor, 50, 250_000, 299_000),
        ];
        assert_eq!(shape, expect);
        let (mut read_times, mut read_values) = (Vec::new(), Vec::new());
        xor::decode(&chunks[0].data, &mut read_times, &mut read_values).unwrap();
        assert_eq!((read_times.len(), read_values[1].to_bits()), (120, STALE_NAN.to_bits()));
    }
}
