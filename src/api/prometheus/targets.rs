//! `targets`, `scrape_pools`, `targets/metadata`: what is scraped, and how the last scrapes went.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::Uri;
use serde_json::{Map, Value, json};

use crate::api::instance::rfc3339;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::ingest::relabel::{self, Rule, RuleConfig};
use crate::ingest::scrape::target::Target;
use crate::ingest::scrape::{PoolView, Scraper};
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::parse;
use crate::server::error::Failure;

/// What the handlers answer from.
#[derive(Clone, Debug)]
struct Scrapes {
    scraper: Arc<Scraper>,
    /// The name by which others reach this machine: it replaces loopback names in `globalUrl`.
    host: Arc<str>,
}

/// The paths about scraping.
pub fn routes(scraper: Arc<Scraper>) -> Router {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned().into();
    Router::new()
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/metadata", get(metadata))
        .route("/api/v1/targets/relabel_steps", get(relabel_steps))
        .route("/api/v1/scrape_pools", get(pools))
        .with_state(Scrapes { scraper, host })
}

/// Targets by job, active and dropped.
async fn targets(State(scrapes): State<Scrapes>, form: Form) -> Response {
    let state = form.get_of_url("state").to_lowercase();
    let shows = |which: &str| state.is_empty() || state == "any" || state == which;
    let only = form.get_of_url("scrapePool");
    let pools = scrapes.scraper.pools();
    let (mut active, mut dropped, mut counts) = (Vec::new(), Vec::new(), Map::new());
    for pool in &pools {
        counts.insert(pool.name.clone(), json!(pool.dropped_total));
        if !only.is_empty() && pool.name != only {
            continue;
        }
        if shows("active") {
            let mut targets: Vec<&Arc<Target>> = pool.active.iter().collect();
            targets.sort_by(|a, b| a.labels.cmp(&b.labels));
            active.extend(targets.into_iter().map(|target| shown(pool, target, &scrapes.host)));
        }
        if shows("dropped") {
            let one = |labels: &Labels| json!({"discoveredLabels": object(labels), "scrapePool": pool.name});
            dropped.extend(pool.dropped.iter().map(one));
        }
    }
    let counts = if shows("dropped") { Value::Object(counts) } else { Value::Null };
    let data = json!({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts});
    answer::success(&data, &Notes::default())
}

fn shown(pool: &PoolView, target: &Target, host: &str) -> Value {
    let last = target.last();
    json!({
        "discoveredLabels": object(&target.discovered),
        "labels": object(&target.labels),
        "scrapePool": pool.name,
        "scrapeUrl": target.url.to_string(),
        "globalUrl": global_url(&target.url, host),
        "lastError": last.error,
        "lastScrape": rfc3339(last.time),
        "lastScrapeDuration": last.duration.as_secs_f64(),
        "health": last.health.name(),
        "scrapeInterval": target.interval.to_string(),
        "scrapeTimeout": target.timeout.to_string(),
    })
}

/// The URL as seen from elsewhere: the machine's name instead of a loopback one.
fn global_url(url: &Uri, host: &str) -> String {
    let local = url.host().filter(|name| matches!(*name, "127.0.0.1" | "localhost" | "[::1]"));
    match local {
        Some(name) if !host.is_empty() => url.to_string().replacen(&format!("://{name}"), &format!("://{host}"), 1),
        _ => url.to_string(),
    }
}

fn object(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

/// What each rule of a job makes of a label set, in order; behind a rule that drops it nothing is left.
async fn relabel_steps(State(scrapes): State<Scrapes>, form: Form) -> Result<Response, Failure> {
    let (pool, labels) = (form.get("scrapePool"), form.get("labels"));
    if pool.is_empty() {
        return Err(Failure::bad_data("no scrapePool parameter provided"));
    }
    if labels.is_empty() {
        return Err(Failure::bad_data("no labels parameter provided"));
    }
    let labels: std::collections::BTreeMap<String, String> =
        serde_json::from_str(labels).map_err(|error| Failure::bad_data(format!("error parsing labels: {error}")))?;
    let rules = scrapes.scraper.rules_of(pool).ok_or_else(|| {
        Failure::bad_data(format!(
            "error retrieving scrape config: unable to find scrape config for scrape pool {pool}"
        ))
    })?;
    let mut builder = Labels::from_pairs(labels).to_builder();
    let mut keep = true;
    let step = |(written, rule): &(RuleConfig, Rule)| {
        keep = keep && relabel::process(std::slice::from_ref(rule), &mut builder);
        let output = if keep { builder.clone().build() } else { Labels::empty() };
        json!({"rule": rule_shown(written), "output": object(&output), "keep": keep})
    };
    let steps: Vec<Value> = rules.iter().map(step).collect();
    Ok(answer::success(&json!({"steps": steps}), &Notes::default()))
}

/// A rule with the defaults of what it leaves out, in Prometheus' words.
fn rule_shown(rule: &RuleConfig) -> Value {
    let mut shown = Map::new();
    if let Some(labels) = &rule.source_labels {
        shown.insert("source_labels".to_owned(), json!(labels));
    }
    for (name, value, default) in [
        ("separator", &rule.separator, Some(";")),
        ("regex", &rule.regex, Some("(.*)")),
        ("target_label", &rule.target_label, None),
        ("replacement", &rule.replacement, Some("$1")),
        ("action", &rule.action, Some("replace")),
    ] {
        if let Some(value) = value.as_deref().or(default) {
            shown.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(modulus) = rule.modulus.filter(|modulus| *modulus > 0) {
        shown.insert("modulus".to_owned(), json!(modulus));
    }
    Value::Object(shown)
}

/// Names of all jobs.
async fn pools(State(scrapes): State<Scrapes>) -> Response {
    answer::success(&json!({"scrapePools": scrapes.scraper.pool_names()}), &Notes::default())
}

/// What targets say of their metric families: of one family, or of all.
async fn metadata(State(scrapes): State<Scrapes>, form: Form) -> Result<Response, Failure> {
    let limit = match form.get("limit") {
        "" => None,
        // A negative limit is none.
        text => usize::try_from(text.parse::<i64>().map_err(|_| Failure::bad_data("limit must be a number"))?).ok(),
    };
    let selector: Vec<Matcher> = match form.get("match_target") {
        "" => Vec::new(),
        text => parse::parse_selector(text).map_err(|error| Failure::parameter("match_target", error.to_string()))?,
    };
    let metric = form.get("metric");
    let mut found = Vec::new();
    for target in scrapes.scraper.pools().iter().flat_map(|pool| &pool.active) {
        if limit.is_some_and(|limit| found.len() >= limit) {
            break;
        }
        if !selector.iter().all(|matcher| matcher.matches(target.labels.get(&matcher.name).unwrap_or(""))) {
            continue;
        }
        for (family, metadata) in target.metadata() {
            let mut row = json!({"target": object(&target.labels)});
            if metric.is_empty() {
                row["metric"] = json!(&*family);
            } else if metric != &*family {
                continue;
            }
            row["type"] = json!(metadata.kind.name());
            row["help"] = json!(metadata.help);
            row["unit"] = json!(metadata.unit);
            found.push(row);
        }
    }
    Ok(answer::success(&found, &Notes::default()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::api::prometheus::tests::parts;
    use crate::base::clock::Clock;
    use crate::base::drain::Drain;
    use crate::base::tasks::Tasks;
    use crate::ingest::scrape::Seams;
    use crate::ingest::scrape::config::Defaults;

    /// Asks about targets that are due in an hour at the latest, so that none has been scraped.
    async fn check(path: &str, expect: &Expect) {
        let (api, _folder, _) = parts();
        let (clock, _) = Clock::simulated(1_700_000_000_000);
        let seams = Seams { store: api.store, tasks: Tasks::default(), clock, drain: Drain::default() };
        let scraper = Arc::new(Scraper::new(seams));
        let yaml = "[{job_name: j, scrape_interval: 100y, static_configs: [{targets: ['localhost:1', 'b:2', 'c:3']}], \
                    relabel_configs: [{source_labels: [__address__], regex: 'b.*', action: drop}]}, {job_name: empty}]";
        let plan =
            scraper.prepare(&serde_saphyr::from_str::<Vec<_>>(yaml).unwrap(), &Defaults::default(), Path::new(""));
        scraper.apply(plan.unwrap());
        let state = Scrapes { scraper, host: "box".into() };
        let router = Router::new()
            .route("/api/v1/targets", get(targets))
            .route("/api/v1/targets/metadata", get(metadata))
            .route("/api/v1/targets/relabel_steps", get(relabel_steps))
            .route("/api/v1/scrape_pools", get(pools))
            .with_state(state);
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let body = router.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        expect.assert_eq(std::str::from_utf8(&body).unwrap());
    }

    #[tokio::test]
    async fn targets_are_shown_by_state_and_pool() {
        check("/api/v1/targets", &expect![[r#"{"status":"success","data":{"activeTargets":[{"discoveredLabels":{"__address__":"c:3","__always_scrape_classic_histograms__":"false","__convert_classic_histograms_to_nhcb__":"false","__metrics_path__":"/metrics","__scheme__":"http","__scrape_interval__":"100y","__scrape_native_histograms__":"false","__scrape_timeout__":"10s","job":"j"},"labels":{"instance":"c:3","job":"j"},"scrapePool":"j","scrapeUrl":"http://c:3/metrics","globalUrl":"http://c:3/metrics","lastError":"","lastScrape":"0001-01-01T00:00:00Z","lastScrapeDuration":0.0,"health":"unknown","scrapeInterval":"100y","scrapeTimeout":"10s"},{"discoveredLabels":{"__address__":"localhost:1","__always_scrape_classic_histograms__":"false","__convert_classic_histograms_to_nhcb__":"false","__metrics_path__":"/metrics","__scheme__":"http","__scrape_interval__":"100y","__scrape_native_histograms__":"false","__scrape_timeout__":"10s","job":"j"},"labels":{"instance":"localhost:1","job":"j"},"scrapePool":"j","scrapeUrl":"http://localhost:1/metrics","globalUrl":"http://box:1/metrics","lastError":"","lastScrape":"0001-01-01T00:00:00Z","lastScrapeDuration":0.0,"health":"unknown","scrapeInterval":"100y","scrapeTimeout":"10s"}],"droppedTargets":[{"discoveredLabels":{"__address__":"b:2","__always_scrape_classic_histograms__":"false","__convert_classic_histograms_to_nhcb__":"false","__metrics_path__":"/metrics","__scheme__":"http","__scrape_interval__":"100y","__scrape_native_histograms__":"false","__scrape_timeout__":"10s","job":"j"},"scrapePool":"j"}],"droppedTargetCounts":{"empty":0,"j":1}}}"#]]).await;
        check("/api/v1/targets?state=dropped", &expect![[r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[{"discoveredLabels":{"__address__":"b:2","__always_scrape_classic_histograms__":"false","__convert_classic_histograms_to_nhcb__":"false","__metrics_path__":"/metrics","__scheme__":"http","__scrape_interval__":"100y","__scrape_native_histograms__":"false","__scrape_timeout__":"10s","job":"j"},"scrapePool":"j"}],"droppedTargetCounts":{"empty":0,"j":1}}}"#]]).await;
        check(
            "/api/v1/targets?state=active&scrapePool=empty",
            &expect![[
                r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}}"#
            ]],
        )
        .await;
        check("/api/v1/scrape_pools", &expect![[r#"{"status":"success","data":{"scrapePools":["empty","j"]}}"#]]).await;
        check("/api/v1/targets/metadata?match_target={job=%22j%22}", &expect![[r#"{"status":"success","data":[]}"#]])
            .await;
        check("/api/v1/targets/relabel_steps?scrapePool=j&labels={%22__address__%22:%22b:2%22}", &expect![[r#"{"status":"success","data":{"steps":[{"rule":{"source_labels":["__address__"],"separator":";","regex":"b.*","replacement":"$1","action":"drop"},"output":{},"keep":false}]}}"#]]).await;
        check(
            "/api/v1/targets/relabel_steps?scrapePool=x&labels={}",
            &expect![[
                r#"{"status":"error","errorType":"bad_data","error":"error retrieving scrape config: unable to find scrape config for scrape pool x"}"#
            ]],
        )
        .await;
        check(
            "/api/v1/targets/metadata?limit=x",
            &expect![[r#"{"status":"error","errorType":"bad_data","error":"limit must be a number"}"#]],
        )
        .await;
    }

    #[test]
    fn loopback_names_are_replaced() {
        let url = |text: &str| global_url(&text.parse().unwrap(), "box");
        assert_eq!(url("http://127.0.0.1:9100/metrics"), "http://box:9100/metrics");
        assert_eq!(url("http://127.0.0.12:9100/metrics"), "http://127.0.0.12:9100/metrics");
        assert_eq!(url("http://[::1]:9100/m?x=localhost"), "http://box:9100/m?x=localhost");
    }
}
