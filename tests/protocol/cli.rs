//! `novascope query` and `novascope promql` against a running server.

use std::process::{Command, Output};

use crate::daemon::{Daemon, data_folder};

fn novascope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_novascope")).args(arguments).output().unwrap()
}

/// What is printed; the command must succeed.
fn said(arguments: &[&str]) -> String {
    let output = novascope(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is complained of; the command must fail.
fn complaint(arguments: &[&str]) -> String {
    let output = novascope(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_server_is_asked_as_promtool_asks_it() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off", "--retention", "off"]);
    let lines: String = (0..60_i64)
        .map(|at| {
            format!(
                "{{\"metric\":{{\"__name__\":\"x\",\"s\":\"a\"}},\"values\":[{at}],\"timestamps\":[{}]}}\n",
                (1_700_000_000 + at) * 1_000
            )
        })
        .collect();
    let answer = daemon.post("/api/v1/import", &[], lines.as_bytes());
    assert_eq!(answer.status, 204, "{}", answer.text());
    let url = format!("http://{}", daemon.main);
    let at = ["--time", "1700000059"];
    let instant = |query: &str, more: &[&str]| said(&[&["query", "instant", &url, query][..], &at, more].concat());
    assert_eq!(instant("x", &[]), "x{s=\"a\"} => 59 @[1700000059]\n");
    assert_eq!(instant("1 + 1", &[]), "scalar: 2 @[1700000059]\n");
    assert_eq!(instant("x[2s]", &[]), "x{s=\"a\"} =>\n58 @[1700000058]\n59 @[1700000059]\n");
    let json = r#"[{"metric":{"__name__":"x","s":"a"},"value":[1700000059,"59"]}]"#;
    assert_eq!(instant("x", &["-o", "json"]).trim_end(), json);
    let window = ["--start", "1700000000", "--end", "2023-11-14T22:13:40Z"];
    let range = [&["query", "range", &url, "rate(x[5s])", "--step", "10s"][..], &window].concat();
    assert_eq!(said(&range), "{s=\"a\"} =>\n1 @[1700000010]\n1 @[1700000020]\n");
    let series = [&["query", "series", &url, "--match", "x"][..], &window].concat();
    assert_eq!(said(&series), "x{s=\"a\"}\n");
    assert_eq!(said(&["query", "labels", &url, "s"]), "a\n");
    // Longer than URLs may be.
    let conditions: Vec<String> = (0..6_000).map(|at| format!("s!=\"v{at}\"")).collect();
    assert_eq!(instant(&format!("x{{{}}}", conditions.join(",")), &[]), "x{s=\"a\"} => 59 @[1700000059]\n");
    let wrong = complaint(&["query", "instant", &url, "sum("]);
    assert!(wrong.contains("1:5: parse error: unclosed left parenthesis"), "{wrong}");
    let nobody = complaint(&["query", "instant", "http://127.0.0.1:1", "x"]);
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
    let odd = complaint(&["query", "instant", &format!("{url}/nowhere"), "x"]);
    assert!(odd.contains("404"), "{odd}");
}

#[test]
fn queries_are_checked_and_written_anew() {
    assert_eq!(said(&["promql", "format", "sum by(a)(rate(x[5m]))"]), "sum by (a) (rate(x[5m]))\n");
    assert!(novascope(&["promql", "check", "rate(x[5m])"]).status.success());
    let wrong = complaint(&["promql", "check", "rate(x)"]);
    assert!(wrong.contains("expected type range vector"), "{wrong}");
}
