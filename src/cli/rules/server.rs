//! A running server as history: its range queries, and remote write for what rules give.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use prost::Message as _;
use serde_json::Value as Json;

use crate::base::clock::{Clock, Millis};
use crate::base::tasks::Tasks;
use crate::cli::query;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::promql::print::format;
use crate::proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use crate::rules::replay::history::{History, Track};
use crate::rules::rule::Rule;
use crate::rules::seam::{Backend, RuleSample};
use crate::server::client::HttpClient;
use crate::server::client::config::ClientConfig;

/// Samples of one write request: far below the bodies that servers take.
const SAMPLES_MAX: usize = 10_000;

/// Bytes of an answer to a write.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A server that speaks Prometheus' API and remote write.
pub(super) struct Server {
    url: String,
}

impl Server {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        url.parse::<Uri>().map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { url })
    }

    fn send(&self, samples: &[RuleSample]) -> Result<(), String> {
        let series = samples.iter().map(time_series).collect::<Result<_, _>>()?;
        let body = WriteRequest { timeseries: series, ..WriteRequest::default() }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&body).map_err(|error| error.to_string())?;
        let uri: Uri =
            format!("{}/api/v1/write", self.url).parse().map_err(|error| format!("{}: {error}", self.url))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert("x-prometheus-remote-write-version", HeaderValue::from_static("0.1.0"));
        *request.headers_mut() = headers;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        runtime.block_on(async {
            let fault = |error: crate::server::client::ClientError| format!("{}: {error}", self.url);
            let client = HttpClient::new(&ClientConfig::default(), &Tasks::default(), &Clock::real()).map_err(fault)?;
            let response = client.send(request).await.map_err(fault)?;
            if response.status().is_success() {
                return Ok(());
            }
            let status = response.status();
            let mut text = Vec::new();
            crate::server::client::read(response.into_body(), ANSWER_BYTES_MAX, &mut text).await.map_err(fault)?;
            Err(format!("{} answered {status}: {}", self.url, String::from_utf8_lossy(&text).trim()))
        })
    }
}

fn time_series(sample: &RuleSample) -> Result<TimeSeries, String> {
    let Value::Float(value) = sample.value else {
        return Err("native histograms are replayed over a data folder only (--data)".to_owned());
    };
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    Ok(TimeSeries {
        labels: sample.labels.iter().map(label).collect(),
        samples: vec![Sample { value, timestamp: sample.time }],
        ..TimeSeries::default()
    })
}

impl History for Server {
    fn range(&self, rule: &Rule, (start, end): (Millis, Millis), step: Millis) -> Result<Vec<Track>, String> {
        #[expect(clippy::cast_precision_loss, reason = "times in seconds")]
        let secs = |millis: Millis| format!("{}", millis as f64 / 1000.0);
        let parameters =
            [("query", rule.query.to_string()), ("start", secs(start)), ("end", secs(end)), ("step", secs(step))];
        let answer = query::fetch(&self.url, "/api/v1/query_range", &parameters)?;
        answer["data"]["result"].as_array().into_iter().flatten().map(track).collect()
    }

    fn write(&self, samples: &[RuleSample]) -> Result<(), String> {
        samples.chunks(SAMPLES_MAX).try_for_each(|chunk| self.send(chunk))
    }
}

impl Backend for Server {
    fn query(&self, _text: &str, expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        #[expect(clippy::cast_precision_loss, reason = "times in seconds")]
        let parameters = [("query", format(expr)), ("time", format!("{}", time as f64 / 1000.0))];
        let answer = query::fetch(&self.url, "/api/v1/query", &parameters)?;
        let data = &answer["data"];
        if data["resultType"] == "scalar" {
            let (time, value) = point(&data["result"])?;
            return Ok(vec![RuleSample { labels: Labels::empty(), time, value }]);
        }
        let sample = |element: &Json| {
            let (time, value) = point(&element["value"])?;
            Ok(RuleSample { labels: labels(&element["metric"]), time, value })
        };
        data["result"].as_array().into_iter().flatten().map(sample).collect()
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        batches.iter().map(|batch| self.write(batch)).collect()
    }
}

fn track(series: &Json) -> Result<Track, String> {
    let points = series["values"].as_array().into_iter().flatten().map(point).collect::<Result<_, _>>()?;
    if series.get("histograms").is_some() {
        return Err("native histograms are replayed over a data folder only (--data)".to_owned());
    }
    Ok(Track { labels: labels(&series["metric"]), points })
}

fn labels(metric: &Json) -> Labels {
    let pairs = metric.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))))
}

fn point(point: &Json) -> Result<(Millis, Value), String> {
    let value = point[1].as_str().and_then(|text| match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    });
    match (point[0].as_f64(), value) {
        #[expect(clippy::cast_possible_truncation, reason = "saturates as far as time goes")]
        (Some(secs), Some(value)) => Ok(((secs * 1000.0).round() as Millis, Value::Float(value))),
        _ => Err(format!("the server gave a point that cannot be read: {point}")),
    }
}
