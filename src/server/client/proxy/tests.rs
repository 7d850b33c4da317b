//! A small proxy, and what goes through it.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::base::tasks::{TaskKind, Tasks};
use crate::server::client::tests::{body_of, client, serve, serve_tls, signed, who};

/// Heads of requests that a proxy got.
type Heads = Arc<Mutex<Vec<String>>>;

/// Passes on what asks with `CONNECT`, answers other requests itself, and refuses hosts named `no.test`.
async fn proxy() -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Heads::default();
    let known = Arc::clone(&heads);
    drop(Tasks::default().spawn(TaskKind::Listener, async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(Tasks::default().spawn(TaskKind::Connection, pass(stream, Arc::clone(&known))));
        }
    }));
    (address, heads)
}

async fn pass(mut stream: TcpStream, heads: Heads) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().push(head.clone());
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let answer = match () {
        () if target.starts_with("no.test") => "HTTP/1.1 403 Forbidden\r\n\r\n",
        () if head.starts_with("CONNECT") => "HTTP/1.1 200 Established\r\n\r\n",
        () => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy",
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    if head.starts_with("CONNECT") && answer.contains("200") {
        let mut other = TcpStream::connect(&target).await.unwrap();
        // Ends when either side goes away.
        drop(tokio::io::copy_bidirectional(&mut stream, &mut other).await);
    }
}

#[tokio::test]
async fn a_plain_request_is_handed_over_whole() {
    let (address, heads) = proxy().await;
    let through = client(&format!("{{proxy_url: 'http://me:p%40ss@{address}', bearer_token: t}}"));
    assert_eq!(body_of(&through, "http://target.test:81/a?b=c").await.unwrap(), "proxy");
    let head = heads.lock()[0].to_lowercase();
    assert!(head.starts_with("get http://target.test:81/a?b=c http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: target.test:81\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic bwu6cebzcw==\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_over_tls_gets_a_tunnel() {
    let (address, heads) = proxy().await;
    let signed = signed();
    let url = serve_tls(&signed).await;
    let through = client(&format!(
        "{{proxy_url: 'me:x@{address}', proxy_connect_header: {{X-Way: [one, two]}}, \
         tls_config: {{insecure_skip_verify: true}}}}"
    ));
    assert_eq!(body_of(&through, &url).await.unwrap(), "ok");
    let head = heads.lock()[0].to_lowercase();
    let target = url.trim_start_matches("https://");
    assert!(head.starts_with(&format!("connect {target} http/1.1\r\nhost: {target}\r\n")), "{head}");
    for expected in ["x-way: one\r\n", "x-way: two\r\n", "proxy-authorization: basic bwu6ea==\r\n"] {
        assert!(head.contains(expected), "{head}");
    }
    let refused = body_of(&through, "https://no.test/").await.unwrap_err().to_string();
    assert!(refused.contains("refused CONNECT no.test:443: HTTP/1.1 403 Forbidden"), "{refused}");
    assert!(!refused.contains("me:x"), "the password is not told: {refused}");
}

#[tokio::test]
async fn exempt_hosts_are_reached_directly() {
    let (address, heads) = proxy().await;
    let url = serve(Router::new().route("/", get(who))).await;
    let through = client(&format!("{{proxy_url: 'http://{address}', no_proxy: 'other.test'}}"));
    assert_eq!(body_of(&through, &url).await.unwrap(), "- -");
    assert!(heads.lock().is_empty());
    assert_eq!(body_of(&through, "http://target.test/").await.unwrap(), "proxy");
    let gone = client("{proxy_url: 'http://127.0.0.1:1'}");
    let error = body_of(&gone, &url).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn wrong_urls_of_proxies_say_what_is_wrong() {
    for (url, expected) in [
        ("socks4://a", "must begin with http://"),
        ("http://", "is not a URL"),
        ("socks5://", "is not a URL"),
        ("http://a b", "in host name"),
    ] {
        let config = serde_saphyr::from_str(&format!("{{proxy_url: '{url}'}}")).unwrap();
        let made =
            crate::server::client::HttpClient::new(&config, &Tasks::default(), &crate::base::clock::Clock::real());
        let error = made.unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

/// A SOCKS5 proxy that wants `me` and `p@ss`; it finds every host at one address, and tells what was asked for.
async fn socks(to: String) -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Heads::default();
    let known = Arc::clone(&asked);
    drop(Tasks::default().spawn(TaskKind::Listener, async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(Tasks::default().spawn(TaskKind::Connection, pass_socks(stream, to.clone(), Arc::clone(&known))));
        }
    }));
    (address, asked)
}

async fn pass_socks(mut stream: TcpStream, to: String, asked: Heads) {
    // Version 5, one method: name and password.
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, [5, 1, 2]);
    stream.write_all(&[5, 2]).await.unwrap();
    let mut login = [0; 9];
    stream.read_exact(&mut login).await.unwrap();
    assert_eq!(&login, b"\x01\x02me\x04p@ss");
    stream.write_all(&[1, 0]).await.unwrap();
    let mut request = vec![0; 5];
    stream.read_exact(&mut request).await.unwrap();
    // Connect, to a name: it is not looked up on our side.
    assert_eq!(request[..4], [5, 1, 0, 3]);
    let mut rest = vec![0; usize::from(request[4]) + 2];
    stream.read_exact(&mut rest).await.unwrap();
    let (name, port) = rest.split_at(rest.len() - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    asked.lock().push(format!("{}:{port}", String::from_utf8_lossy(name)));
    let refuses = name == b"no.test";
    stream.write_all(&[5, if refuses { 2 } else { 0 }, 0, 1, 127, 0, 0, 1, 0, 80]).await.unwrap();
    if !refuses {
        let mut other = TcpStream::connect(&to).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut stream, &mut other).await);
    }
}

#[tokio::test]
async fn every_request_goes_through_a_socks_proxy() {
    let plain = serve(Router::new().route("/", get(who))).await;
    let (address, asked) = socks(plain.trim_start_matches("http://").trim_end_matches('/').to_owned()).await;
    for scheme in ["socks5", "socks5h"] {
        let through = client(&format!("{{proxy_url: '{scheme}://me:p%40ss@{address}'}}"));
        // Whole, and not in the form for proxies.
        assert_eq!(body_of(&through, "http://target.test:81/").await.unwrap(), "- -");
        let refused = body_of(&through, "http://no.test/").await.unwrap_err().to_string();
        assert!(refused.contains(&format!("proxy {scheme}://{address}/")) && !refused.contains("p@ss"), "{refused}");
    }
    assert_eq!(*asked.lock(), ["target.test:81", "no.test:80", "target.test:81", "no.test:80"]);
    let signed = signed();
    let (address, asked) =
        socks(serve_tls(&signed).await.trim_start_matches("https://").trim_end_matches('/').to_owned()).await;
    let through =
        client(&format!("{{proxy_url: 'socks5://me:p%40ss@{address}', tls_config: {{insecure_skip_verify: true}}}}"));
    assert_eq!(body_of(&through, "https://secure.test/").await.unwrap(), "ok");
    assert_eq!(*asked.lock(), ["secure.test:443"]);
}
