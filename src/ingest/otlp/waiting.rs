//! Points with one float each, looked up and appended together.
//!
//! Nearly all points are such. Taken one by one, each would wait for its series to come from memory before the next is
//! looked for; together they share locks, and the processor fetches several series side by side.

use std::borrow::Cow;

use super::points::Head;
use super::translate::{Pending, Place, Problem, Translator};
use crate::metrics::{Float, Refusal, Run, SeriesRef};
use crate::proto::wire::WireError;

/// So many share their locks, and still lie in the second cache of a core.
const WAITING_MAX: usize = 1_024;

/// What a walk over a request puts off.
#[derive(Default)]
pub(super) struct Walk<'b> {
    /// Deltas, until the end of the request.
    pub pending: Vec<Pending<'b>>,
    keys: Vec<u128>,
    points: Vec<Point<'b>>,
    places: Vec<Place>,
    found: Vec<Option<SeriesRef>>,
    floats: Vec<Float>,
    runs: Vec<Run>,
    /// For each of `floats` its place in `points`.
    origins: Vec<usize>,
}

struct Point<'b> {
    /// In `places`.
    place: usize,
    attributes: Cow<'b, [u8]>,
    time: i64,
    start: i64,
    value: f64,
}

impl<'b> Walk<'b> {
    /// Puts a float off; answers whether it is time to flush.
    #[inline]
    pub(super) fn push(&mut self, place: &Place, key: u128, head: Head<'b>, (start, value): (i64, f64)) -> bool {
        // The seed is a hash of all that a place is.
        if self.places.last().is_none_or(|last| last.seed != place.seed) {
            self.places.push(place.clone());
        }
        let time = head.time();
        self.keys.push(key);
        self.points.push(Point { place: self.places.len() - 1, attributes: head.attributes, time, start, value });
        self.keys.len() >= WAITING_MAX
    }
}

impl Translator<'_> {
    /// Appends what waits.
    ///
    /// # Errors
    /// Where an attribute shows that the request is broken.
    pub(super) fn flush(&mut self, walk: &mut Walk<'_>) -> Result<(), WireError> {
        let Walk { keys, points, places, found, floats, runs, origins, .. } = walk;
        self.caches.series.get_many(keys, self.now_secs, found);
        floats.clear();
        runs.clear();
        origins.clear();
        let mut unknown = Vec::new();
        for (at, (series, point)) in found.iter().zip(points.iter()).enumerate() {
            match series {
                Some(series) => {
                    runs.push(Run::new(*series, &(floats.len()..floats.len() + 1)));
                    floats.push(Float { time: point.time, start: point.start, value: point.value });
                    origins.push(at);
                }
                None => unknown.push(at),
            }
        }
        let mut refused = Vec::new();
        self.appender.runs(runs, floats, |_, at, refusal| refused.push((origins[at], refusal)));
        let taken = (floats.len() - refused.len()) as u64;
        self.report.samples += taken;
        self.accepted += taken;
        for (at, refusal) in refused {
            match refusal {
                Refusal::UnknownSeries => {
                    self.caches.series.remove(keys[at]);
                    unknown.push(at);
                }
                refusal => self.reject(&places[points[at].place], Problem::Refused(refusal))?,
            }
        }
        for at in unknown {
            let point = &points[at];
            let place = &places[point.place];
            let appended = self.known_or_new(place, &point.attributes, keys[at]).and_then(|series| {
                self.appender.float(series, point.time, point.start, point.value).map_err(Problem::Refused)
            });
            match appended {
                Ok(()) => {
                    self.report.samples += 1;
                    self.accepted += 1;
                }
                Err(problem) => self.reject(place, problem)?,
            }
        }
        keys.clear();
        points.clear();
        places.clear();
        Ok(())
    }

    /// The series of a point; the same one may have been made for a point just before.
    fn known_or_new(&mut self, place: &Place, attributes: &[u8], key: u128) -> Result<SeriesRef, Problem> {
        match self.caches.series.get(key, self.now_secs) {
            Some(series) => Ok(series),
            None => self.resolve(place, attributes, key),
        }
    }
}
