use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::response::Redirect as AxumRedirect;
use axum::routing::{get, post};

use super::config::ClientConfig;
use super::*;

/// Serves a router on a loopback port until the test ends.
pub(super) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(Tasks::default().spawn(TaskKind::Listener, async move { axum::serve(listener, router).await }));
    format!("http://{address}")
}

pub(super) fn client(yaml: &str) -> HttpClient {
    let config: ClientConfig = serde_saphyr::from_str(yaml).unwrap();
    HttpClient::new(&config, &Tasks::default(), &Clock::real()).unwrap()
}

pub(super) async fn body_of(client: &HttpClient, url: &str) -> Result<String, ClientError> {
    let response = client.get(&url.parse().unwrap(), HeaderMap::new(), 1_000).await?;
    Ok(String::from_utf8_lossy(response.body()).into_owned())
}

pub(super) async fn who(request: AxumRequest) -> String {
    let header = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap_or("?")).to_owned();
    format!("{} {}", header("authorization"), header("x-scope"))
}

#[tokio::test]
async fn credentials_and_headers_are_sent() {
    let url = serve(Router::new().route("/", get(who))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let from_file = format!("{{authorization: {{type: Token, credentials_file: '{}'}}}}", file.path().display());
    for (yaml, expected) in [
        ("{}", "- -"),
        ("{basic_auth: {username: a, password: 'b:c'}}", "Basic YTpiOmM= -"),
        ("{authorization: {credentials: x}, http_headers: {X-Scope: {values: [tenant]}}}", "Bearer x tenant"),
        ("{bearer_token: y}", "Bearer y -"),
        (from_file.as_str(), "Token from-file -"),
    ] {
        assert_eq!(body_of(&client(yaml), &url).await.unwrap(), expected, "{yaml}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used() {
    let router = Router::new().route("/", get(who)).route(
        "/token",
        post(|request: AxumRequest| async move {
            assert_eq!(request.headers()["authorization"], "Basic aWQ6cyUyRnM=");
            let body = axum::body::to_bytes(request.into_body(), 1_000).await.unwrap();
            assert_eq!(&body[..], b"grant_type=client_credentials&scope=a+b&audience=x");
            r#"{"access_token": "abc", "token_type": "bearer", "expires_in": 3600}"#
        }),
    );
    let url = serve(router).await;
    let client = client(&format!(
        "{{oauth2: {{client_id: id, client_secret: 's/s', token_url: '{url}/token', scopes: [a, b], \
         endpoint_params: {{audience: x}}}}}}"
    ));
    for _ in 0..2 {
        assert_eq!(body_of(&client, &url).await.unwrap(), "Bearer abc -");
    }
}

#[tokio::test]
async fn redirects_are_followed_and_credentials_stay_at_home() {
    let elsewhere = serve(Router::new().route("/", get(who))).await;
    let away = elsewhere.clone();
    let router = Router::new()
        .route("/who", get(who))
        .route("/near", get(|| async { AxumRedirect::permanent("/who") }))
        .route("/far", get(move || async move { AxumRedirect::temporary(&away) }))
        .route("/loop", get(|| async { AxumRedirect::temporary("loop") }));
    let url = serve(router).await;
    let client_with = client("{bearer_token: y}");
    assert_eq!(body_of(&client_with, &format!("{url}/near")).await.unwrap(), "Bearer y -");
    assert_eq!(body_of(&client_with, &format!("{url}/far")).await.unwrap(), "- -");
    assert_eq!(body_of(&client_with, &format!("{url}/loop")).await, Err(ClientError::Redirects));
    let stays = client("{follow_redirects: false}");
    let uri = format!("{url}/near").parse().unwrap();
    assert_eq!(stays.get(&uri, HeaderMap::new(), 10).await.unwrap().status(), StatusCode::PERMANENT_REDIRECT);
}

#[tokio::test]
async fn bodies_have_a_limit_before_and_after_inflating() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&[b'a'; 2_000]).unwrap();
    let packed = gzip.finish().unwrap();
    let router = Router::new()
        .route("/gzip", get(move || async move { ([("content-encoding", "gzip")], packed) }))
        .route("/plain", get(|| async { "a".repeat(2_000) }));
    let url = serve(router).await;
    let client = client("{}");
    assert_eq!(body_of(&client, &format!("{url}/gzip")).await, Err(ClientError::TooLarge(1_000)));
    assert_eq!(body_of(&client, &format!("{url}/plain")).await, Err(ClientError::TooLarge(1_000)));
    let uri = format!("{url}/gzip").parse().unwrap();
    assert_eq!(client.get(&uri, HeaderMap::new(), 2_000).await.unwrap().body().len(), 2_000);
}

pub(super) type Signed = rcgen::CertifiedKey<rcgen::KeyPair>;

pub(super) fn signed() -> Signed {
    rcgen::generate_simple_self_signed(vec!["example.test".to_owned()]).unwrap()
}

/// Answers "ok" over TLS as `example.test`.
pub(super) async fn serve_tls(signed: &Signed) -> String {
    let (cert, key) = (signed.cert.der().clone(), signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], rustls_pki_types::PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(Tasks::default().spawn(TaskKind::Listener, async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            drop(Tasks::default().spawn(TaskKind::Connection, async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let router = Router::new().route("/", get(|| async { "ok" }));
                let service = hyper_util::service::TowerToHyperService::new(router);
                let io = hyper_util::rt::TokioIo::new(stream);
                // Ends when the client goes away.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
            }));
        }
    }));
    url
}

#[tokio::test]
async fn tls_trusts_the_configured_authority_only() {
    let signed = signed();
    let url = serve_tls(&signed).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signed.cert.pem()).unwrap();
    let trusting = format!("{{tls_config: {{ca_file: '{}', server_name: example.test}}}}", file.path().display());
    assert_eq!(body_of(&client(&trusting), &url).await.unwrap(), "ok");
    let careless = client("{tls_config: {insecure_skip_verify: true}, enable_http2: false}");
    assert_eq!(body_of(&careless, &url).await.unwrap(), "ok");
    let wary = body_of(&client("{}"), &url).await.unwrap_err().to_string();
    assert!(wary.contains("certificate"), "{wary}");
}

/// What `openssl req -x509` makes; Go takes it as `ca_file` too.
#[tokio::test]
async fn a_certificate_may_be_its_own_authority() {
    let own = |name: &str| {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        Signed { cert: parameters.self_signed(&signing_key).unwrap(), signing_key }
    };
    let (signed, other) = (own("example.test"), own("example.test"));
    let url = serve_tls(&signed).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let trusting = |name: &str, certificate: &Signed| {
        std::fs::write(file.path(), certificate.cert.pem()).unwrap();
        client(&format!("{{tls_config: {{ca_file: '{}', server_name: {name}}}}}", file.path().display()))
    };
    assert_eq!(body_of(&trusting("example.test", &signed), &url).await.unwrap(), "ok");
    let named = body_of(&trusting("another.test", &signed), &url).await.unwrap_err().to_string();
    assert!(named.contains("not valid for name"), "{named}");
    let unknown = body_of(&trusting("example.test", &other), &url).await.unwrap_err().to_string();
    assert!(unknown.contains("certificate"), "{unknown}");
}

#[tokio::test]
async fn changed_tls_files_are_read_again_and_bad_ones_change_nothing() {
    let (old, new) = (signed(), signed());
    let url = serve_tls(&new).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), old.cert.pem()).unwrap();
    let client =
        client(&format!("{{tls_config: {{ca_file: '{}', server_name: example.test}}}}", file.path().display()));
    body_of(&client, &url).await.unwrap_err();
    // Lengths differ, so that the test does not rest on the file system's clock.
    std::fs::write(file.path(), format!("{}\n", new.cert.pem())).unwrap();
    assert_eq!(body_of(&client, &url).await.unwrap(), "ok");
    std::fs::write(file.path(), "half written").unwrap();
    assert_eq!(body_of(&client, &url).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_closed_port_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    drop(listener);
    let error = body_of(&client("{}"), &url).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("GET \"{url}\": Connection refused")), "{error}");
}
