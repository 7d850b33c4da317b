//! What the fixtures hold: samples that are a function of their series and place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use novascope::base::clock::SimClock;
use novascope::metrics::{Origin, Store};
use novascope::model::exemplar::Exemplar;
use novascope::model::histogram::{Histogram, Span};
use novascope::model::labels::Labels;
use novascope::model::metadata::{Metadata, MetricType};

pub(crate) const NOW: i64 = 1_700_000_000_000;
pub(crate) const MINUTE: i64 = 60_000;
/// Begin of an aligned window of eight hours.
pub(crate) const FIRST: i64 = NOW - NOW % 28_800_000 - 28_800_000;
const STEP: i64 = 5_000;
/// Eight hours that are merged and rolled up, then two more in a block of their own.
const MERGED: i64 = 5_760;
const IN_BLOCKS: i64 = 7_200;
/// Then samples that only the snapshot has, and such that only the log has.
const IN_SNAPSHOT: i64 = 7_500;
const ALL: i64 = 7_560;

/// A value by its bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Float(u64),
    Histogram(Arc<Histogram>),
}

/// Which samples the series have at a place in time. Series `late` gets its odd ones later.
fn sample(name: &str, place: i64) -> Option<(i64, i64, Value)> {
    let time = FIRST + (place + 1) * STEP;
    let start = if name == "starts" { FIRST - 1_000 + place / 100 } else { 0 };
    let value = match name {
        "counter" => (place % 900 * 3) as f64,
        "gauge" => ((place * 7_919) % 1_000) as f64 / 100.0 - 3.0,
        "late" | "starts" => place as f64,
        // Bits that arithmetic would not keep: payloads of NaN, a staleness marker, a negative zero, infinities.
        "bits" if place % 3 == 0 => f64::from_bits(
            [
                0x7ff8_0000_0000_0001,
                0x7ff0_0000_0000_0002,
                0x7ff8_0000_dead_beef,
                0x8000_0000_0000_0000,
                0x7ff0_0000_0000_0000,
                0x0000_0000_0000_0001,
            ][(place / 3 % 6) as usize],
        ),
        "bits" => (place as f64).sqrt(),
        "native" if place % 10 == 0 => return Some((time, 0, Value::Histogram(histogram(place)))),
        _ => return None,
    };
    Some((time, start, Value::Float(value.to_bits())))
}

fn histogram(place: i64) -> Arc<Histogram> {
    let count = (place % 50) as f64;
    Arc::new(Histogram {
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: 1.0,
        count: 2.0 * count + 2.0,
        sum: place as f64 / 8.0,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 1 }],
        positive_buckets: vec![count, count],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        negative_buckets: vec![1.0],
        ..Histogram::default()
    })
}

const NAMES: [&str; 6] = ["bits", "counter", "gauge", "late", "native", "starts"];

fn labels(name: &str) -> Labels {
    let dotted = ("resource.name", "größe");
    if name == "bits" {
        Labels::from_pairs([("__name__", name), ("job", "a"), dotted])
    } else {
        Labels::from_pairs([("__name__", name), ("job", "a")])
    }
}

pub(crate) fn exemplar() -> Exemplar {
    let trace = Labels::from_pairs([("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]);
    Exemplar { labels: trace, value: 0.25, time: FIRST + 7_400 * STEP }
}

pub(crate) fn metadata() -> Metadata {
    Metadata { kind: MetricType::Counter, unit: "seconds".into(), help: "What a fixture counts.".into() }
}

/// Everything that a fixture holds.
pub(crate) fn expected() -> BTreeMap<Labels, Vec<(i64, i64, Value)>> {
    NAMES.iter().map(|name| (labels(name), (0..ALL).filter_map(|place| sample(name, place)).collect())).collect()
}

fn append(store: &Store, places: std::ops::Range<i64>, is_wanted: impl Fn(&str, i64) -> bool) {
    for name in NAMES {
        let mut appender = store.appender(Origin::new("fixture"));
        let series = appender.series(labels(name).as_encoded()).unwrap();
        for place in places.clone().filter(|place| is_wanted(name, *place)) {
            match sample(name, place) {
                Some((time, start, Value::Float(bits))) => {
                    appender.float(series, time, start, f64::from_bits(bits)).unwrap();
                }
                Some((time, start, Value::Histogram(histogram))) => {
                    appender.histogram(series, time, start, &histogram).unwrap();
                }
                None => {}
            }
        }
        appender.commit().wait().unwrap();
    }
}

/// Writes it all: a merged block with its tier, a fresh block, a snapshot with late samples, a log behind it.
pub(crate) fn write(store: &Store, clock: &SimClock) {
    let on_time = |name: &str, place: i64| name != "late" || place % 2 == 0;
    append(store, 0..IN_BLOCKS, on_time);
    store.flush().unwrap();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(20));
        store.maintain();
    }
    let blocks = store.blocks().unwrap().version();
    assert!(blocks.blocks().iter().any(|block| block.meta().resolution > 0), "there is a tier block");
    append(store, IN_BLOCKS..IN_SNAPSHOT, on_time);
    // Late samples: into what is in blocks, into sealed chunks, and between the newest.
    append(store, MERGED..IN_SNAPSHOT, |name, place| !on_time(name, place));
    let mut appender = store.appender(Origin::new("fixture"));
    let series = appender.series(labels("counter").as_encoded()).unwrap();
    appender.exemplar(series, &exemplar()).unwrap();
    appender.metadata("counter", &metadata());
    appender.commit().wait().unwrap();
    store.snapshot().unwrap();
    append(store, IN_SNAPSHOT..ALL, on_time);
    append(store, 0..MERGED, |name, place| !on_time(name, place) && place % 64 == 63);
    append(store, 0..MERGED, |name, place| !on_time(name, place) && place % 64 != 63);
    append(store, IN_SNAPSHOT..ALL, |name, place| !on_time(name, place));
}
