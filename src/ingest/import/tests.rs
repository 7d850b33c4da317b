//! Import through its endpoint.

use std::sync::Arc;

use axum::Router;
use expect_test::expect;

use super::{Receiver, routes};
use crate::ingest::fixture::{Fixture, read, send};
use crate::server::body::BodyLimits;

fn fixture() -> (Fixture, Router) {
    let fixture = Fixture::new();
    let receiver = Receiver::new(Arc::clone(&fixture.store), fixture.clock.clone(), BodyLimits::WRITE);
    (fixture, routes(Arc::new(receiver)))
}

const PATH: &str = "/api/v1/import/prometheus";

#[tokio::test]
async fn text_is_stored_with_its_times_or_the_time_of_the_request() {
    let (fixture, router) = fixture();
    let body = "# TYPE up gauge\n# HELP up Up.\nup{job=\"a\"} 1\nup{job=\"a\"} 0 1699999999000\nplain 2";
    for _ in 0..2 {
        let (status, text) = read(send(&router, PATH, &[], body).await).await;
        assert_eq!((status, text.as_str()), (204, ""));
    }
    expect![[r#"
        plain 2@0
        up{job="a"} 0@-1000 1@0
    "#]]
    .assert_eq(&fixture.dump());
    assert_eq!(fixture.store.metadata(Some("up"), 0, 0)[0].metadata[0].help, "Up.");
}

#[tokio::test]
async fn openmetrics_brings_exemplars_and_start_times() {
    let (fixture, router) = fixture();
    let body = "# TYPE a counter\na_total 5 1700000000.5 # {trace_id=\"x\"} 1\na_created 1699999999.0\n# EOF\n";
    let headers = [("content-type", "application/openmetrics-text; version=1.0.0")];
    let (status, text) = read(send(&router, PATH, &headers, body).await).await;
    assert_eq!(status, 204, "{text}");
    expect![[r#"
        a_total 5@500(-1000)
    "#]]
    .assert_eq(&fixture.dump());
    assert_eq!(fixture.store.exemplars(&[vec![]], i64::MIN, i64::MAX).len(), 1);
}

#[tokio::test]
async fn broken_lines_are_named_and_the_others_stored() {
    let (fixture, router) = fixture();
    let body = "a 1\nb{x= 2\nc 3\n\nd 4 9999999999999\ne{x=\"1\",x=\"2\"} 5\nf nonsense\ng 7\n";
    let (status, text) = read(send(&router, PATH, &[], body).await).await;
    assert_eq!(status, 400);
    for part in [
        "4 of 7 lines refused",
        "line 2, column",
        "line 5: sample is too far in the future",
        "line 6: ",
        "line 7, column",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    expect![[r#"
        a 1@0
        c 3@0
        g 7@0
    "#]]
    .assert_eq(&fixture.dump());
    let (status, text) = read(send(&router, PATH, &[], "!\n".repeat(5_000)).await).await;
    assert!(status == 400 && text.contains("1001 of 1001 lines"), "{text}");
}

#[tokio::test]
async fn the_url_may_give_time_and_labels() {
    let (fixture, router) = fixture();
    let path = format!("{PATH}?timestamp=1700000000007&extra_label=dc=eu%2D1&extra_label=job=b");
    let (status, _) = read(send(&router, &path, &[], "up{job=\"a\"} 1\n").await).await;
    assert_eq!(status, 204);
    assert_eq!(fixture.dump(), "up{dc=\"eu-1\", job=\"b\"} 1@7\n");
    let (status, text) = read(send(&router, &format!("{PATH}?time=1"), &[], "up 1\n").await).await;
    assert!(status == 400 && text.contains("unknown; timestamp and extra_label"), "{text}");
}
