use axum::body::Body;
use expect_test::{Expect, expect};
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::api::prometheus::tests::{NOW, parts};
use crate::rules::file::read;

const RULES: &str = "
groups:
- name: one
  interval: 90s
  rules:
  - {record: 'up:sum', expr: vector(2)}
  - {alert: Always, expr: vector(1), for: 1m, labels: {severity: page}, annotations: {text: 'is {{ $value }}'}}
- name: two
  limit: 5
  rules: [{alert: Never, expr: vector(1) > 2}, {alert: Broken, expr: 'label_replace(vector(1), \"a\", \"b\", \"c\", \"[\")'}]
";

/// Two groups, evaluated once.
async fn check(path: &str, expect: Expect) {
    let (api, _folder, world) = parts();
    api.rules.apply(read("rules.yml", RULES, 15_000).unwrap());
    for group in api.rules.groups().iter() {
        group.evaluate(&world, NOW);
    }
    let request = Request::get(path).body(Body::empty()).unwrap();
    let body = crate::api::router(api).oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    expect.assert_eq(std::str::from_utf8(&body).unwrap());
}

#[tokio::test]
async fn groups_with_their_rules_and_alerts() {
    check("/api/v1/rules?rule_group[]=one", expect![[r#"{"status":"success","data":{"groups":[{"name":"one","file":"rules.yml","rules":[{"name":"up:sum","query":"vector(2)","health":"ok","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"recording"},{"state":"pending","name":"Always","query":"vector(1)","duration":60,"keepFiringFor":0,"labels":{"severity":"page"},"annotations":{"text":"is {{ $value }}"},"alerts":[{"labels":{"alertname":"Always","severity":"page"},"annotations":{"text":"is 1"},"state":"pending","activeAt":"2023-11-14T22:13:20Z","value":"1e+00"}],"health":"ok","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"alerting"}],"interval":90,"limit":0,"evaluationTime":0.0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#]]).await;
    check("/api/v1/rules?file[]=rules.yml&rule_name[]=Broken&exclude_alerts=true", expect![[r#"{"status":"success","data":{"groups":[{"name":"two","file":"rules.yml","rules":[{"state":"inactive","name":"Broken","query":"label_replace(vector(1), \"a\", \"b\", \"c\", \"[\")","duration":0,"keepFiringFor":0,"labels":{},"annotations":{},"alerts":null,"health":"err","lastError":"invalid regular expression in label_replace(): [","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"alerting"}],"interval":15,"limit":5,"evaluationTime":0.0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#]]).await;
    check("/api/v1/alerts", expect![[r#"{"status":"success","data":{"alerts":[{"labels":{"alertname":"Always","severity":"page"},"annotations":{"text":"is 1"},"state":"pending","activeAt":"2023-11-14T22:13:20Z","value":"1e+00"}]}}"#]]).await;
}

#[tokio::test]
async fn filters_and_pages() {
    check("/api/v1/rules?type=record&rule_group[]=one", expect![[r#"{"status":"success","data":{"groups":[{"name":"one","file":"rules.yml","rules":[{"name":"up:sum","query":"vector(2)","health":"ok","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"recording"}],"interval":90,"limit":0,"evaluationTime":0.0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#]]).await;
    check("/api/v1/rules?match[]={severity=%22page%22}&exclude_alerts=1", expect![[r#"{"status":"success","data":{"groups":[{"name":"one","file":"rules.yml","rules":[{"state":"pending","name":"Always","query":"vector(1)","duration":60,"keepFiringFor":0,"labels":{"severity":"page"},"annotations":{"text":"is {{ $value }}"},"alerts":null,"health":"ok","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"alerting"}],"interval":90,"limit":0,"evaluationTime":0.0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#]]).await;
    check(
        "/api/v1/rules?rule_name[]=Never&group_limit=1&file[]=other.yml",
        expect![[r#"{"status":"success","data":{"groups":[]}}"#]],
    )
    .await;
    check(
        "/api/v1/rules?type=alert&rule_name[]=Always&rule_name[]=Never&group_limit=1&exclude_alerts=t",
        expect![[r#"{"status":"success","data":{"groups":[{"name":"one","file":"rules.yml","rules":[{"state":"pending","name":"Always","query":"vector(1)","duration":60,"keepFiringFor":0,"labels":{"severity":"page"},"annotations":{"text":"is {{ $value }}"},"alerts":null,"health":"ok","evaluationTime":0.0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"alerting"}],"interval":90,"limit":0,"evaluationTime":0.0,"lastEvaluation":"0001-01-01T00:00:00Z"}],"groupNextToken":"da5cf130f39f56e52a38621176e740ff"}}"#]],
    )
    .await;
    check("/api/v1/rules?group_limit=1&group_next_token=nonsense", expect![[r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": invalid group_next_token 'nonsense'. were rule groups changed?"}"#]]).await;
}
