//! `/`: the first page. What comes in, from whom, how fast; what to paste to send more; where everything is.
//!
//! It is made anew at each request from the store and the counters, has no scripts, and asks the browser to come again
//! after a few seconds (`/?refresh=off` does not).

mod figures;
mod paste;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFRESH};
use http::{HeaderMap, HeaderValue};

use crate::api::instance::{Instance, Phase};
use crate::api::page::figures::{Figures, Sender, Tile};
use crate::api::prometheus::Prometheus;
use crate::api::prometheus::asked::Asked;
use crate::query::active::Question;
use crate::query::{Job, Lane, QueryKind};
use crate::server::error::Failure;
use crate::ui::chart::sparkline;
use crate::ui::html::{bytes, document, duration, escape, section, short, snippet, table};

/// Seconds until the browser asks again.
const REFRESH_SECS: &str = "5";

/// Reading the figures takes milliseconds; a page that takes longer than this is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The page, over the same state as the query API.
pub fn routes(api: Prometheus) -> Router {
    Router::new().route("/", get(page)).with_state(Arc::new(api))
}

async fn page(State(api): State<Arc<Prometheus>>, headers: HeaderMap, asked: Asked) -> Result<Response, Failure> {
    let refresh = asked.form.get("refresh") != "off";
    let now = api.queries.clock().now();
    let job = Job {
        kind: QueryKind::Series,
        question: Question { query: "status page".to_owned(), start: now, end: now, step: 0 },
        asker: asked.asker,
        timeout: Some(PATIENCE),
        lane: Lane::Free,
    };
    let store = Arc::clone(&api.store);
    let figures = api.queries.run(job, move |_| Ok(Figures::read(&store, now))).await?;
    let host = host(&headers).unwrap_or_else(|| api.instance.listen.clone());
    let html = render(&api.instance, &figures, &Seen { now, host, refresh });
    let mut response = html.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'self'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    if refresh {
        headers.insert(REFRESH, HeaderValue::from_static(REFRESH_SECS));
    }
    Ok(response)
}

/// Under what name the browser knows us, for the snippets.
fn host(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]_".contains(&byte);
    (!host.is_empty() && host.len() < 256 && host.bytes().all(plain)).then(|| host.to_owned())
}

/// What the request brought.
struct Seen {
    now: i64,
    host: String,
    refresh: bool,
}

fn render(instance: &Instance, figures: &Figures, seen: &Seen) -> String {
    let mut body = String::new();
    body.push_str("<dl class=\"tiles\">");
    for tile in &figures.tiles {
        body.push_str(&render_tile(tile));
    }
    body.push_str("</dl>\n");
    body.push_str(&section("Senders", &senders(&figures.senders)));
    if !figures.rejected.is_empty() {
        let rows: Vec<_> = figures.rejected.iter().map(|(reason, count)| vec![reason.clone(), short(*count)]).collect();
        body.push_str(&section("Refused", &table("Samples refused by reason", &["Reason", "Samples"], &rows)));
    }
    let snippets: String = paste::snippets(instance, &seen.host)
        .iter()
        .enumerate()
        .map(|(at, (heading, text))| snippet(heading, text, at == 0))
        .collect();
    body.push_str(&section("Send data, ask questions", &snippets));
    if !figures.largest.is_empty() {
        let rows: Vec<_> = figures.largest.iter().map(|(name, count)| vec![name.clone(), short(*count)]).collect();
        body.push_str(&section("Largest metrics", &table("Series by metric", &["Metric", "Series"], &rows)));
    }
    document("novascope", &head(instance, seen), &body)
}

fn head(instance: &Instance, seen: &Seen) -> String {
    let (class, state) = match instance.phase() {
        Phase::Ready => ("good", "ready"),
        Phase::Starting => ("warn", "starting"),
        Phase::Stopping => ("warn", "stopping"),
    };
    let up = u64::try_from((seen.now - instance.started) / 1000).unwrap_or(0);
    let turn = if seen.refresh { "<a href=\"/?refresh=off\">pause</a>" } else { "<a href=\"/\">resume</a>" };
    let links = [
        ("metrics", "/metrics"),
        ("cardinality", "/api/v1/status/tsdb"),
        ("queries", "/api/v1/status/top_queries"),
        ("configuration", "/api/v1/status/config"),
    ];
    let links: String = links.iter().map(|(name, path)| format!("<a href=\"{path}\">{name}</a>")).collect();
    format!(
        "<span class=\"badge {class}\">{state}</span><p>{} · up {}</p><nav aria-label=\"Pages\">{links}{turn}</nav>",
        escape(env!("CARGO_PKG_VERSION")),
        duration(up),
    )
}

fn render_tile(tile: &Tile) -> String {
    let value = if tile.is_bytes { bytes(tile.value) } else { format!("{}{}", short(tile.value), tile.unit) };
    let value = if tile.value.is_finite() { value } else { "–".to_owned() };
    format!(
        "<div class=\"tile\"><dt>{}</dt><dd>{}<span class=\"note\">{}</span></dd>{}</div>",
        escape(tile.name),
        escape(&value),
        escape(&tile.note),
        sparkline(&tile.history),
    )
}

fn senders(senders: &[Sender]) -> String {
    if senders.is_empty() {
        return "<p class=\"empty\">Nothing has been sent yet. Paste one of the snippets below; it shows up here within a \
                second.</p>"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = senders
        .iter()
        .map(|sender| {
            let state = if sender.rate > 0.0 { "sending" } else { "silent" };
            vec![
                sender.protocol.clone(),
                state.to_owned(),
                if sender.rate.is_finite() { short(sender.rate) } else { "–".to_owned() },
                short(sender.samples),
                short(sender.requests),
                short(sender.rejected),
            ]
        })
        .collect();
    let columns = ["Protocol", "State", "Samples/s", "Samples", "Requests", "Refused"];
    table("Senders by protocol", &columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_header_is_shown_only_if_it_is_one() {
        let host_of = |text: &'static str| host(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(text))]));
        assert_eq!(host_of("nova.example:9090").as_deref(), Some("nova.example:9090"));
        assert_eq!(host_of("[::1]:9090").as_deref(), Some("[::1]:9090"));
        assert_eq!(host_of("<script>"), None);
    }

    #[test]
    fn the_page_says_what_to_do_while_nothing_comes_in() {
        let reload = || -> crate::api::instance::Reload { Box::new(|| Box::pin(async { Ok(()) })) };
        let instance = Instance::new(0, String::new(), reload());
        instance.set_phase(Phase::Ready);
        let seen = Seen { now: 65_000, host: "h:1".to_owned(), refresh: true };
        let html = render(&instance, &Figures::default(), &seen);
        assert!(html.contains("Nothing has been sent yet") && html.contains("up 1 min 5 s"));
        assert!(html.contains("http://h:1/api/v1/write"));
        assert!(!html.contains("<script") && !html.contains("http-equiv"));
    }
}
