//! Requests through the router over a real store, with golden answers.

use axum::Router;
use axum::body::Body;
use expect_test::{Expect, expect};
use http::Request;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tower::ServiceExt as _;

use crate::api::instance::{Instance, Phase};
use crate::api::prometheus::Prometheus;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::metrics::config::Config;
use crate::metrics::{self, Origin, Store};
use crate::model::exemplar::Exemplar;
use crate::model::labels::Labels;
use crate::model::metadata::{Metadata, MetricType};
use crate::promql::eval::QueryOptions;
use crate::query::Queries;
use crate::query::config::Config as QueryConfig;
use crate::rules::engine::{Rules, Seams};
use crate::rules::group::World;
use crate::rules::seam::NoSink;
use crate::rules::store::StoreBackend;

/// 2023-11-14T22:13:20Z; samples end here.
pub(super) const NOW: i64 = 1_700_000_000_000;

/// Two counters of 10/s and 1/s over the last ten minutes, a gauge with an odd name, an exemplar, metadata.
fn fill(store: &Store) {
    let mut appender = store.appender(Origin::new("test"));
    for (code, rate) in [("200", 10.0), ("500", 1.0)] {
        let labels = Labels::from_pairs([("__name__", "requests_total"), ("code", code), ("job", "api")]);
        let series = appender.series(labels.as_encoded()).unwrap();
        for second in 0..=600_i64 {
            appender.float(series, NOW - 600_000 + second * 1000, 0, second as f64 * rate).unwrap();
        }
        if code == "500" {
            let labels = Labels::from_pairs([("trace_id", "feedface")]);
            appender.exemplar(series, &Exemplar { labels, value: 0.25, time: NOW - 1500 }).unwrap();
        }
    }
    let labels = Labels::from_pairs([("__name__", "odd.name"), ("service.name", "a\"b")]);
    appender.sample(labels.as_encoded(), NOW, 0, f64::NEG_INFINITY).unwrap();
    let metadata = Metadata { kind: MetricType::Counter, unit: String::new(), help: "Requests.".to_owned() };
    appender.metadata("requests_total", &metadata);
    appender.commit().wait().unwrap();
}

/// Rules over a store, and what its groups work with.
pub(super) fn rules(store: &Arc<Store>, clock: Clock, tasks: Tasks) -> (Rules, World) {
    let world = World {
        backend: Arc::new(StoreBackend::new(Arc::clone(store), QueryOptions::default())),
        sink: Arc::new(NoSink),
        surroundings: Arc::default(),
        clock,
        query_offset: 0,
        resend_delay: 60_000,
    };
    (Rules::new(Seams { world: world.clone(), tasks, drain: Drain::default(), file: None, namespaces: None }), world)
}

/// A router over a store that lives as long as the folder.
fn fixture() -> (Router, tempfile::TempDir) {
    let (api, folder, _) = parts();
    (crate::api::router(api), folder)
}

/// What the router answers from.
pub(super) fn parts() -> (Prometheus, tempfile::TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, _) = Clock::simulated(NOW);
    let tasks = Tasks::default();
    let seams =
        metrics::Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: tasks.clone() };
    let store = Store::open(Config::default(), folder.path(), seams).unwrap();
    fill(&store);
    let instance = Instance::new(NOW, "global: {}\n".to_owned(), Box::new(|| Box::pin(async { Ok(()) })));
    instance.set_phase(Phase::Ready);
    let queries = Queries::new(clock.clone(), tasks.clone(), QueryConfig::default());
    let (rules, world) = rules(&store, clock, tasks);
    (Prometheus { store, queries, instance: Arc::new(instance), rules }, folder, world)
}

async fn send(request: Request<Body>) -> (u16, String) {
    let (router, _folder) = fixture();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(path: &str) -> String {
    let (status, body) = send(Request::get(path).body(Body::empty()).unwrap()).await;
    format!("{status} {body}")
}

async fn check(path: &str, expect: Expect) {
    expect.assert_eq(&get(path).await);
}

#[tokio::test]
async fn series_and_labels_as_prometheus_gives_them() {
    check("/api/v1/series?match[]=requests_total&match[]={code=%22500%22}", expect![[r#"200 {"status":"success","data":[{"__name__":"requests_total","code":"200","job":"api"},{"__name__":"requests_total","code":"500","job":"api"}]}"#]]).await;
    check("/api/v1/series?match[]=requests_total&limit=1", expect![[r#"200 {"status":"success","data":[{"__name__":"requests_total","code":"200","job":"api"}],"warnings":["results truncated due to limit"]}"#]]).await;
    check("/api/v1/labels", expect![[r#"200 {"status":"success","data":["__name__","code","job","service.name"]}"#]])
        .await;
    check(
        "/api/v1/labels?match[]=requests_total&limit=2",
        expect![[
            r#"200 {"status":"success","data":["__name__","code"],"warnings":["results truncated due to limit"]}"#
        ]],
    )
    .await;
    check("/api/v1/label/code/values", expect![[r#"200 {"status":"success","data":["200","500"]}"#]]).await;
    check("/api/v1/label/U__service_2e_name/values", expect![[r#"200 {"status":"success","data":["a\"b"]}"#]]).await;
    check(
        "/api/v1/label/code/values?match[]=requests_total&end=1600000000",
        expect![[r#"200 {"status":"success","data":[]}"#]],
    )
    .await;
    check(
        "/api/v1/metadata",
        expect![[
            r#"200 {"status":"success","data":{"requests_total":[{"type":"counter","unit":"","help":"Requests."}]}}"#
        ]],
    )
    .await;
    check("/api/v1/metadata?metric=nothing&limit=5", expect![[r#"200 {"status":"success","data":{}}"#]]).await;
}

#[tokio::test]
async fn wrong_parameters_are_refused_in_the_words_of_prometheus() {
    check(
        "/api/v1/series",
        expect![[r#"400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#]],
    )
    .await;
    check("/api/v1/series?match[]={}", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"}"#]]).await;
    check("/api/v1/labels?start=soon", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": invalid time value for 'start': cannot parse \"soon\" to a valid timestamp"}"#]]).await;
    check(
        "/api/v1/labels?match[]=sum(x)",
        expect![[r#"400 {"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected \"(\""}"#]],
    )
    .await;
    check(
        "/api/v1/label//values",
        expect![[r#"404 {"status":"error","errorType":"not_found","error":"there is no label without a name"}"#]],
    )
    .await;
    check("/api/v1/query_exemplars?query=test&start=2&end=1", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"end timestamp must not be before start timestamp"}"#]]).await;
    check("/api/v1/rules?type=both", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"type\": not supported value \"both\""}"#]]).await;
    check(
        "/api/v1/status/tsdb?limit=0",
        expect![[r#"400 {"status":"error","errorType":"bad_data","error":"limit must be a positive number"}"#]],
    )
    .await;
    check(
        "/api/v1/nothing",
        expect![[r#"
        404 404 page not found
    "#]],
    )
    .await;
}

#[tokio::test]
async fn exemplars_of_the_selectors_of_a_query() {
    let query = "histogram_quantile(0.9,%20rate(requests_total[1m]))";
    check(&format!("/api/v1/query_exemplars?query={query}&start=1699999000&end=1700000000"), expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total","code":"500","job":"api"},"exemplars":[{"labels":{"trace_id":"feedface"},"value":"0.25","timestamp":1699999998.500}]}]}"#]]).await;
    // Grafana asks so, with milliseconds, whether there are exemplars at all.
    check(
        "/api/v1/query_exemplars?query=test&start=1699999000000&end=1700000000000",
        expect![[r#"200 {"status":"success","data":[]}"#]],
    )
    .await;
    check("/api/v1/query_exemplars?query=1", expect!["204 "]).await;
}

#[tokio::test]
async fn instant_queries_of_every_type() {
    check(
        "/api/v1/query?query=1%2B1&time=4",
        expect![[r#"200 {"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#]],
    )
    .await;
    check(
        "/api/v1/query?query=%22text%22&time=0.5",
        expect![[r#"200 {"status":"success","data":{"resultType":"string","result":[0.500,"text"]}}"#]],
    )
    .await;
    check("/api/v1/query?query=requests_total{code=%22500%22}", expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","code":"500","job":"api"},"value":[1700000000,"600"]}]}}"#]]).await;
    check("/api/v1/query?query={%22odd.name%22}", expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"odd.name","service.name":"a\"b"},"value":[1700000000,"-Inf"]}]}}"#]]).await;
    check("/api/v1/query?query=requests_total[2s]&limit=1", expect![[r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"requests_total","code":"200","job":"api"},"values":[[1699999999,"5990"],[1700000000,"6000"]]}]},"warnings":["results truncated due to limit"]}"#]]).await;
    check("/api/v1/query?query=rate(requests_total[1m])&time=2023-11-14T22:13:20Z", expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"code":"200","job":"api"},"value":[1700000000,"10"]},{"metric":{"code":"500","job":"api"},"value":[1700000000,"1"]}]}}"#]]).await;
    check(
        "/api/v1/query?query=requests_total&time=1700000002&lookback_delta=1s",
        expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[]}}"#]],
    )
    .await;
    check("/api/v1/query?query=absent(x)&time=1e12", expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1000000000000,"1"]}]}}"#]]).await;
}

#[tokio::test]
async fn range_queries_and_their_limits() {
    let window = "start=1699999990&end=1700000000&step=5";
    check(&format!("/api/v1/query_range?query=sum(rate(requests_total[10s]))&{window}"), expect![[r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1699999990,"11"],[1699999995,"11"],[1700000000,"11"]]}]}}"#]]).await;
    check(&format!("/api/v1/query_range?query=requests_total&limit=1&{window}"), expect![[r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"requests_total","code":"200","job":"api"},"values":[[1699999990,"5900"],[1699999995,"5950"],[1700000000,"6000"]]}]},"warnings":["results truncated due to limit"]}"#]]).await;
    check(&format!("/api/v1/query_range?query=time()&{window}"), expect![[r#"200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1699999990,"1699999990"],[1699999995,"1699999995"],[1700000000,"1700000000"]]}]}}"#]]).await;
    check(&format!("/api/v1/query_range?query=x[5m]&{window}"), expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"}"#]]).await;
    check("/api/v1/query_range?query=1&start=0&end=1&step=x", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": cannot parse \"x\" to a valid duration"}"#]]).await;
    check("/api/v1/query_range?query=1&start=0&end=1e6&step=1", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#]]).await;
}

#[tokio::test]
async fn queries_that_cannot_be_answered() {
    check("/api/v1/query?query=", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": unknown position: parse error: no expression found in input"}"#]]).await;
    check("/api/v1/query?query=up&timeout=long", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"timeout\": cannot parse \"long\" to a valid duration"}"#]]).await;
    check("/api/v1/query?query=requests_total%20*%20on(job)%20requests_total", expect![[r#"422 {"status":"error","errorType":"execution","error":"found duplicate series for the match group {job=\"api\"} on the right hand-side of the operation: [{__name__=\"requests_total\", code=\"200\", job=\"api\"}, {__name__=\"requests_total\", code=\"500\", job=\"api\"}];many-to-many matching not allowed: matching labels must be unique on one side"}"#]]).await;
    check("/api/v1/query?query=up&lookback_delta=x", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"error parsing lookback delta duration: cannot parse \"x\" to a valid duration"}"#]]).await;
}

#[tokio::test]
async fn statistics_and_annotations_stand_beside_the_result() {
    let body = get("/api/v1/query?query=rate(requests_total[1m])&stats=yes").await;
    assert!(body.contains(r#""stats":{"timings":{"evalTotalTime":"#), "{body}");
    assert!(body.contains(r#""totalQueryableSamples":120"#), "{body}");
    assert!(body.contains(r#""warnings":["value \"yes\" for parameter"#), "{body}");
    check(
        "/api/v1/query?query=rate({%22odd.name%22}[1m])",
        expect![[r#"200 {"status":"success","data":{"resultType":"vector","result":[]}}"#]],
    )
    .await;
}

#[tokio::test]
async fn samples_are_counted_for_each_step() {
    let body =
        get("/api/v1/query_range?query=rate(requests_total[1m])&start=1699999700&end=1699999720.5&step=10&stats=all")
            .await;
    for part in [
        r#""totalQueryableSamplesPerStep":[[1699999700,120],[1699999710,120],[1699999720,120]]"#,
        r#""samplesReadPerStep":[[1699999700,120],[1699999710,20],[1699999720,20]]"#,
        r#""totalQueryableSamples":360"#,
        r#""samplesRead":160"#,
    ] {
        assert!(body.contains(part), "{body}");
    }
}

#[tokio::test]
async fn a_query_is_explained_node_by_node() {
    let body = get("/api/v1/query?query=sum(rate(requests_total[1m]))%20/%202&explain=1").await;
    let answer: serde_json::Value = serde_json::from_str(body.split_once(' ').unwrap().1).unwrap();
    let root = &answer["data"]["explain"];
    let leaf = &root["children"][0]["children"][0]["children"][0];
    let read = |node: &serde_json::Value| {
        [&node["node"], &node["expr"], &node["series"], &node["samples"], &node["bytes"]]
            .map(ToString::to_string)
            .join(" ")
    };
    assert_eq!(read(root), r#""binary /" "sum(rate(requests_total[1m])) / 2" 1 120 1920"#);
    assert_eq!(read(leaf), r#""range selector" "requests_total[1m]" 2 120 1920"#);
    assert_eq!((&leaf["tier"], root["timeSeconds"].is_number()), (&serde_json::json!("raw"), true));
}

#[tokio::test]
async fn a_large_matrix_comes_in_pieces_and_whole() {
    let (status, body) = send(
        Request::get("/api/v1/query_range?query=requests_total%20or%20(requests_total%20%2B%20.123456789)&start=1699999400&end=1700000000&step=0.06")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert!(body.len() > crate::api::prometheus::answer::PIECE_BYTES, "{}", body.len());
    let series = parsed["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    assert!(series.iter().all(|series| series["values"].as_array().unwrap().len() == 10_001));
}

#[tokio::test]
async fn the_language_without_data() {
    check("/api/v1/format_query?query=foo/bar", expect![[r#"200 {"status":"success","data":"foo / bar"}"#]]).await;
    check(
        "/api/v1/parse_query?query=-1",
        expect![[r#"200 {"status":"success","data":{"type":"numberLiteral","val":"-1"}}"#]],
    )
    .await;
    check("/api/v1/parse_query?query=sum(", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#]]).await;
}

#[tokio::test]
async fn the_state_of_the_process() {
    check(
        "/-/ready",
        expect![[r#"
        200 novascope is Ready.
    "#]],
    )
    .await;
    check("/api/v1/status/buildinfo", expect![[r#"200 {"status":"success","data":{"version":"3.14.0","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"","application":"novascope","applicationVersion":"0.1.0"}}"#]]).await;
    check("/api/v1/status/config", expect![[r#"200 {"status":"success","data":{"yaml":"global: {}\n"}}"#]]).await;
    check("/api/v1/rules", expect![[r#"200 {"status":"success","data":{"groups":[]}}"#]]).await;
    check("/api/v1/alerts", expect![[r#"200 {"status":"success","data":{"alerts":[]}}"#]]).await;
    check("/api/v1/status/tsdb?limit=1", expect![[r#"200 {"status":"success","data":{"headStats":{"numSeries":3,"numLabelPairs":6,"chunkCount":7,"minTime":1699999400000,"maxTime":1700000000000},"seriesCountByMetricName":[{"name":"requests_total","value":2}],"labelValueCountByLabelName":[{"name":"__name__","value":2}],"memoryInBytesByLabelName":[{"name":"__name__","value":36}],"seriesCountByLabelValuePair":[{"name":"__name__=requests_total","value":2}]}}"#]]).await;
    check("/api/v1/status/active_queries", expect![[r#"200 {"status":"success","data":[]}"#]]).await;
}

#[tokio::test]
async fn a_form_may_be_posted() {
    let form = Request::post("/api/v1/labels")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("match%5B%5D=%7B%22odd.name%22%7D"))
        .unwrap();
    let (status, body) = send(form).await;
    expect![[r#"200 {"status":"success","data":["__name__","service.name"]}"#]].assert_eq(&format!("{status} {body}"));
    let form = Request::post("/api/v1/labels")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("content-encoding", "gzip")
        .body(Body::from("limit=1"))
        .unwrap();
    let (status, body) = send(form).await;
    expect![[r#"400 {"status":"error","errorType":"bad_data","error":"cannot decompress the body: gzip: unexpected end of file"}"#]].assert_eq(&format!("{status} {body}"));
}
