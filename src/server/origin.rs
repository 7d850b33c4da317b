//! Requests that a browser sends for a page of another site. Reading is free to all, as with Prometheus; what changes
//! something is not: such a request needs no answer to do its harm.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};

use super::error::{Failure, Kind};

/// Whether a browser sends this for a page that is not ours.
pub fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // What the browser says itself holds also behind a proxy that calls us by another name.
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return false };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_none() || authority != text(HOST.as_str())
}

/// The answer to such a request.
pub fn refuse() -> Response {
    let answer = Failure::new(Kind::BadData, "pages of other sites may not ask this").into_response();
    (StatusCode::FORBIDDEN, answer.into_body()).into_response()
}

/// A layer for paths that read and write: pages of other sites may read.
pub async fn guard_writes(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && is_from_elsewhere(request.headers()) { refuse() } else { next.run(request).await }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(method: Method, headers: &[(&str, &str)]) -> u16 {
        let router = Router::new().route("/", get(|| async {}).post(|| async {})).layer(from_fn(guard_writes));
        let mut request = Request::builder().method(method).uri("/").header("host", "nova:9090");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn pages_of_other_sites_read_and_do_not_write() {
        for (headers, may_write) in [
            (&[][..], true),
            (&[("origin", "http://nova:9090")][..], true),
            (&[("origin", "http://evil")][..], false),
            (&[("origin", "null")][..], false),
            (&[("origin", "https://behind.a.proxy"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("origin", "http://nova:9090"), ("sec-fetch-site", "cross-site")][..], false),
        ] {
            assert_eq!(status(Method::GET, headers).await, 200, "{headers:?}");
            assert_eq!(status(Method::POST, headers).await == 200, may_write, "{headers:?}");
        }
        assert_eq!(status(Method::POST, &[("origin", "http://evil")]).await, 403);
    }
}
