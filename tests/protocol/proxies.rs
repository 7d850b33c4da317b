//! Proxies that the environment of the process names.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::daemon::{Daemon, data_folder};

/// Answers every request with one sample. Gives its address and the first lines of what it was asked.
fn server(metric: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&asked);
    // Ends with the process.
    let serve = move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), Vec::new());
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.extend_from_slice(&byte);
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            known.lock().unwrap().push(line);
            let body = format!("{metric} 1\n");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
            // A client that went away is no fault of this test.
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    };
    std::thread::Builder::new().spawn(serve).unwrap();
    (address, asked)
}

#[test]
fn scrapes_take_the_proxy_of_the_environment_and_pass_it_by_as_it_says() {
    let (_folder, data) = data_folder();
    let (proxy, asked) = server("proxied");
    let (direct, _) = server("direct");
    let file = data.with_file_name("prometheus.yml");
    let job = |name: &str, target: &str| {
        format!("- job_name: {name}\n  proxy_from_environment: true\n  static_configs: [{{targets: ['{target}']}}]\n")
    };
    let jobs = [job("away", "target.test:81"), job("exempt", "a.exempt.test:81"), job("near", &direct)].concat();
    let text = format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}");
    std::fs::write(&file, text).unwrap();
    let variables = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "exempt.test, other.test"), ("http_proxy", "")];
    let daemon = Daemon::start_in(&data, &["--self", "off", "--config.file", file.to_str().unwrap()], &variables);
    let found = daemon.query_until_found("proxied");
    assert_eq!(found[0]["metric"]["job"], "away");
    // Loopback is never asked for by a proxy of the environment, as with Go's client.
    assert_eq!(daemon.query_until_found("direct")[0]["metric"]["job"], "near");
    // Nobody answers for the name itself.
    daemon.query_until_found("up{job=\"exempt\"} == 0");
    let asked = asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.starts_with("GET http://target.test:81/metrics ")),
        "{asked:?}"
    );
}
