//! `GET /federate`: the last sample of chosen series, for another Prometheus to scrape.
//!
//! Text by default, protobuf where `Accept` asks for it; native histograms exist only there, histograms with custom
//! buckets are written as classic ones in both. External labels are added where a series does not have them, and an
//! empty `instance` keeps the scraper from setting its own.

mod protobuf;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::asked::Asked;
use crate::metrics::Store;
use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::sample::{Value, is_stale};
use crate::promql::parse::parse_selector;
use crate::promql::source::{Column, SeriesSet as _};
use crate::query::active::Question;
use crate::query::error::QueryError;
use crate::query::{Job, Lane, QueryKind, Run};
use crate::server::error::Failure;

/// The path, over the same state as the query API.
pub fn routes(api: Prometheus) -> Router {
    Router::new().route("/federate", get(federate)).with_state(Arc::new(api))
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `utf8`: the client takes quoted names; else characters beyond the classic ones become underscores.
    Text {
        utf8: bool,
    },
    Protobuf,
}

impl Format {
    fn negotiate(accept: &str) -> Self {
        let mut text = Self::Text { utf8: false };
        for clause in accept.split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            if media == "application/vnd.google.protobuf"
                && parameters.contains(&"proto=io.prometheus.client.MetricFamily")
                && parameters.contains(&"encoding=delimited")
            {
                return Self::Protobuf;
            }
            if media == "text/plain" && parameters.contains(&"escaping=allow-utf-8") {
                text = Self::Text { utf8: true };
            }
        }
        text
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text { utf8: false } => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Self::Text { utf8: true } => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping=allow-utf-8"
            }
        }
    }
}

/// The last sample of a series.
#[derive(Clone, Debug)]
struct Last {
    /// Without the name, with external labels.
    labels: Labels,
    name: String,
    time: i64,
    value: Value,
}

async fn federate(State(api): State<Arc<Prometheus>>, headers: HeaderMap, asked: Asked) -> Result<Response, Response> {
    let Asked { form, asker } = asked;
    let mut sets = Vec::new();
    let mut texts = Vec::new();
    for text in form.all("match[]") {
        sets.push(parse_selector(text).map_err(|error| Failure::bad_data(error.to_string()).into_text())?);
        texts.push(text.to_owned());
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::negotiate(accept);
    let now = api.queries.clock().now();
    let oldest = now - api.queries.config().lookback.as_millis();
    let question = Question { query: texts.join(" or "), start: oldest, end: now, step: 0 };
    let job = Job { kind: QueryKind::Federate, question, asker, timeout: None, lane: Lane::Seat };
    let store = Arc::clone(&api.store);
    let external = api.instance.external_labels.load_full();
    let body = api
        .queries
        .run(job, move |run| {
            let found = last_samples(&store, &sets, (oldest, now), run)?;
            let found = with_external(found, &external);
            Ok(match format {
                Format::Text { utf8 } => text::encode(&found, utf8),
                Format::Protobuf => protobuf::encode(&found),
            })
        })
        .await
        .map_err(|error| Failure::from(error).into_text())?;
    Ok(([(CONTENT_TYPE, format.content_type())], body).into_response())
}

/// The last sample in the range of every series that fulfils a set of matchers, in order of labels.
fn last_samples(
    store: &Store,
    sets: &[Vec<Matcher>],
    (oldest, newest): (i64, i64),
    run: &Run,
) -> Result<BTreeMap<Labels, (i64, Value)>, QueryError> {
    let mut found = BTreeMap::new();
    let mut column = Column::default();
    for set in sets {
        let selection = store.select(set, oldest, newest);
        for index in 0..selection.len() {
            if run.is_cancelled() {
                return Err(QueryError::Canceled("federation"));
            }
            let labels = selection.labels(index);
            if found.contains_key(labels) {
                continue;
            }
            column.clear();
            selection.read(index, &mut column).map_err(|error| QueryError::Storage(error.to_string()))?;
            run.add_samples(column.len() as u64);
            if let Some(last) = last(&column) {
                found.insert(labels.clone(), last);
            }
        }
    }
    Ok(found)
}

/// The last sample; `None` where it is a staleness marker, for which the formats have no word.
fn last(column: &Column) -> Option<(i64, Value)> {
    let time = *column.times.last()?;
    if let Some(Some(histogram)) = column.histograms.last() {
        return (!histogram.is_stale()).then(|| (time, Value::Histogram(Arc::clone(histogram))));
    }
    let value = *column.values.last()?;
    (!is_stale(value)).then_some((time, Value::Float(value)))
}

/// Sorted by name, external labels added. Series without a name cannot be exposed.
fn with_external(found: BTreeMap<Labels, (i64, Value)>, external: &BTreeMap<String, String>) -> Vec<Last> {
    let mut list: Vec<Last> = found
        .into_iter()
        .filter(|(labels, _)| !labels.metric_name().is_empty())
        .map(|(labels, (time, value))| {
            let name = labels.metric_name().to_owned();
            let mut builder = labels.without_name().to_builder();
            for (label, value) in external {
                if builder.get(label).is_none() {
                    builder.set(label, value);
                }
            }
            Last { labels: builder.build(), name, time, value }
        })
        .collect();
    // The order of labels stays within a name.
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// Whether the scraper would set an `instance` of its own: an empty one must be written then.
fn lacks_instance(labels: &Labels) -> bool {
    labels.get("instance").is_none()
}

/// Cumulative counts by upper bound of a histogram with custom buckets, `+Inf` not included.
fn classic_buckets(histogram: &Histogram) -> Vec<(f64, f64)> {
    let mut below = 0.0;
    let mut buckets = histogram.positive().peekable();
    histogram
        .custom_values
        .iter()
        .map(|bound| {
            while let Some(bucket) = buckets.next_if(|bucket| bucket.upper <= *bound) {
                below += bucket.count;
            }
            (*bound, below)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn list() -> Vec<Last> {
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 9.5,
            positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![2.0, 4.0],
            custom_values: Arc::from([0.5, 1.0]),
            ..Histogram::default()
        };
        let native = Histogram { count: 1.0, sum: 2.0, ..Histogram::default() };
        let mut found = BTreeMap::new();
        let labels = |name: &str, extra: (&str, &str)| Labels::from_pairs([("__name__", name), extra]);
        found.insert(labels("up", ("job", "a\"b\n")), (1_500, Value::Float(1.0)));
        found.insert(labels("odd.name", ("service.name", "x")), (2_000, Value::Float(f64::INFINITY)));
        found.insert(labels("sizes", ("instance", "i")), (3_000, Value::Histogram(Arc::new(custom))));
        found.insert(labels("native", ("job", "j")), (4_000, Value::Histogram(Arc::new(native))));
        let external = BTreeMap::from([("zone".to_owned(), "eu".to_owned())]);
        with_external(found, &external)
    }

    #[test]
    fn text_has_classic_names_and_no_native_histograms() {
        let expect = expect_test::expect![[r#"
            # TYPE odd_name untyped
            odd_name{service_name="x",zone="eu",instance=""} +Inf 2000
            # TYPE sizes histogram
            sizes_bucket{instance="i",zone="eu",le="0.5"} 2 3000
            sizes_bucket{instance="i",zone="eu",le="1"} 2 3000
            sizes_bucket{instance="i",zone="eu",le="+Inf"} 6 3000
            sizes_sum{instance="i",zone="eu"} 9.5 3000
            sizes_count{instance="i",zone="eu"} 6 3000
            # TYPE up untyped
            up{job="a\"b\n",zone="eu",instance=""} 1 1500
        "#]];
        expect.assert_eq(&String::from_utf8(text::encode(&list(), false)).unwrap());
    }

    #[test]
    fn text_may_quote_names() {
        let text = String::from_utf8(text::encode(&list(), true)).unwrap();
        assert!(text.contains("# TYPE \"odd.name\" untyped\n{\"odd.name\",\"service.name\"=\"x\",zone="), "{text}");
    }

    #[test]
    fn protobuf_has_everything() {
        use crate::proto::exposition::MetricFamily;
        use prost::Message as _;
        let bytes = protobuf::encode(&list());
        let mut rest = bytes.as_slice();
        let mut families = Vec::new();
        while !rest.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
        }
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names, ["native", "odd.name", "sizes", "up"]);
        assert_eq!(families[0].metric[0].histogram.as_ref().unwrap().sample_count_float(), 1.0);
        assert_eq!(families[2].metric[0].histogram.as_ref().unwrap().bucket.len(), 2);
        assert_eq!(families[3].metric[0].untyped.unwrap().value(), 1.0);
        assert_eq!(families[3].metric[0].timestamp_ms(), 1_500);
    }

    #[test]
    fn prometheus_own_accept_header_asks_for_protobuf_only_when_it_says_so() {
        let modern = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1";
        assert_eq!(Format::negotiate(modern), Format::Text { utf8: true });
        assert_eq!(Format::negotiate("*/*"), Format::Text { utf8: false });
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6";
        assert_eq!(Format::negotiate(native), Format::Protobuf);
    }
}
