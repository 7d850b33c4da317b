//! The same random queries over the same random samples, asked of a real Prometheus.
//!
//! Runs where `NOVASCOPE_PROMETHEUS` names a Prometheus (2.42 or newer) with `promtool` beside it; `.ci/run` does that.
//! Windows of version 2 include their start, those of version 3 do not, and the extrapolation near 0 differs: samples
//! lie between the times that queries look at, and counters are far from 0, so that neither shows.

use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use novascope::model::labels::{Labels, METRIC_NAME};
use novascope::promql::eval::{QueryOptions, QueryValue, Window, range};
use novascope::promql::parse::parse;

use crate::generate::{Dice, Kinds, Writer, samples};
use crate::store::Store;

/// Points of each series, by time in milliseconds. Metric names are left out: version 2 removes them earlier.
type Answer = BTreeMap<Labels, BTreeMap<i64, f64>>;

const TICK: i64 = 15_000;
const TICKS: i64 = 400;

/// Queries look at times that are no multiples of a tick, and samples lie elsewhere again: at eighths of a second, which
/// floats hold exactly, because promtool cuts off what is below a millisecond.
const QUERY_PHASE: i64 = 4_334;
const SAMPLE_PHASE: i64 = 125;

#[test]
fn a_real_prometheus_gives_the_same() {
    let Some(program) = std::env::var_os("NOVASCOPE_PROMETHEUS").map(PathBuf::from) else {
        println!("NOVASCOPE_PROMETHEUS is not set: nothing is compared");
        return;
    };
    let seed = std::env::var("NOVASCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_242);
    println!("NOVASCOPE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let store = samples(&mut dice, TICKS, TICK, Kinds { exotic: false }).shifted(SAMPLE_PHASE);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&program, folder.path(), &store);
    let (mut same, mut skipped) = (0, 0);
    for _ in 0..600 {
        let mut writer = Writer { dice: &mut dice, tick: TICK, newest: false, phase: QUERY_PHASE };
        let query = writer.vector(3);
        let step = TICK * (1 + dice.below(4) as i64);
        let start = 60 * TICK + QUERY_PHASE;
        let window = Window { start, end: start + 40 * step, step };
        let (Some(expected), Ok(actual)) = (server.ask(&query, window), ours(&store, &query, window)) else {
            // Removing names early makes series equal that are not equal here; then there is nothing to compare.
            skipped += 1;
            continue;
        };
        if is_undetermined(&query) {
            skipped += 1;
            continue;
        }
        if let Some(difference) = difference(&expected, &actual) {
            panic!("seed {seed}: {query}\n    from {start} step {step}: {difference}");
        }
        same += 1;
    }
    println!("{same} queries agree, {skipped} could not be compared");
    assert!(same > 300, "only {same} queries could be compared");
}

/// Ties and rounding decide what such queries give.
fn is_undetermined(query: &str) -> bool {
    let exact = ["topk", "bottomk", "count_values", "%", "==", "!=", "sgn", "ceil", "round", "changes", "resets"];
    let rounds = ["stddev", "stdvar", "deriv", "predict", "avg", "rate", "increase", "quantile", "/", "^", "exp"];
    query.contains("topk")
        || query.contains("bottomk")
        // Version 2.42 answers at the first step only.
        || (query.contains("predict_linear") && query.contains('@'))
        || (exact.iter().any(|part| query.contains(part)) && rounds.iter().any(|part| query.contains(part)))
}

fn ours(store: &Store, query: &str, window: Window) -> Result<Answer, String> {
    let expr = parse(query).map_err(|error| error.to_string())?;
    let outcome =
        range(store, query, &expr, window, &QueryOptions::default()).map_err(|error| format!("{query}: {error}"))?;
    let QueryValue::Matrix(matrix) = outcome.value else { return Err("no matrix".to_owned()) };
    Ok(matrix.into_iter().map(|series| (series.labels.without_name(), series.floats.into_iter().collect())).collect())
}

fn difference(expected: &Answer, actual: &Answer) -> Option<String> {
    if let Some(labels) = expected.keys().find(|labels| !actual.contains_key(labels)) {
        return Some(format!("{labels} is missing"));
    }
    for (labels, points) in actual {
        let Some(wanted) = expected.get(labels) else { return Some(format!("{labels} should not be there")) };
        let times: std::collections::BTreeSet<i64> = points.keys().chain(wanted.keys()).copied().collect();
        for time in times {
            let (a, b) = (wanted.get(&time), points.get(&time));
            let agree = match (a, b) {
                (Some(a), Some(b)) => {
                    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * (a.abs() + b.abs()) + 1e-6
                }
                _ => false,
            };
            if !agree {
                return Some(format!("{labels} at {time}: theirs {a:?}, ours {b:?}"));
            }
        }
    }
    None
}

/// A Prometheus of its own, over blocks made from a store.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(program: &Path, folder: &Path, store: &Store) -> Self {
        let text = folder.join("samples.om");
        let mut file =
            BufWriter::new(std::fs::File::create(&text).expect("a folder, a port and two programs of its own"));
        store.each_float(|labels, time, value| {
            let (seconds, millis) = (time / 1000, time % 1000);
            writeln!(file, "{} {value} {seconds}.{millis:03}", labels_of(labels))
                .expect("a folder, a port and two programs of its own");
        });
        writeln!(file, "# EOF").expect("a folder, a port and two programs of its own");
        drop(file);
        let data = folder.join("data");
        let made = Command::new(program.with_file_name("promtool"))
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&text, &data])
            .stdout(Stdio::null())
            .status()
            .expect("a folder, a port and two programs of its own");
        assert!(made.success(), "promtool made no blocks");
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global:\n  scrape_interval: 1h\n")
            .expect("a folder, a port and two programs of its own");
        // Prometheus does not tell which port it got, so a free one is looked for first.
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a folder, a port and two programs of its own")
            .local_addr()
            .expect("a folder, a port and two programs of its own")
            .port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=200y", "--log.level=error"])
            .stderr(Stdio::null())
            .spawn()
            .expect("a folder, a port and two programs of its own");
        let server = Self { child, port };
        for _ in 0..1200 {
            if server.get("/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return server;
            }
            // There is no event to wait for but the answer itself; the number of attempts is bounded.
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("Prometheus is not ready after two minutes");
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn ask(&self, query: &str, window: Window) -> Option<Answer> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let (start, end, step) = (seconds(window.start), seconds(window.end), seconds(window.step));
        let answer = self.get(&format!("/api/v1/query_range?query={encoded}&start={start}&end={end}&step={step}"))?;
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        if body["status"] != "success" {
            return None;
        }
        let mut series = Answer::new();
        for result in body["data"]["result"].as_array()? {
            let labels = result["metric"].as_object()?.iter().filter(|(name, _)| *name != METRIC_NAME);
            let labels = Labels::from_pairs(labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or(""))));
            let mut points = BTreeMap::new();
            for point in result["values"].as_array()? {
                let time = (point[0].as_f64()? * 1000.0).round() as i64;
                let value = point[1].as_str()?;
                points.insert(time, if value == "NaN" { f64::NAN } else { value.parse().ok()? });
            }
            series.insert(labels, points);
        }
        Some(series)
    }
}

/// Labels as the exposition format writes them.
fn labels_of(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("{}{{{}}}", labels.metric_name(), pairs.join(","))
}
