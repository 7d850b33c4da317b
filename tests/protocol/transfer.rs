//! Data in and out: what was imported leaves bit by bit, by every way that can hold it.

use std::path::Path;
use std::process::{Command, Output};

use novascope::codec::prometheus::{Encoding, histogram, xor};
use novascope::export::frames;
use novascope::proto::prometheus::read_request::ResponseType;
use novascope::proto::prometheus::{LabelMatcher, Query, ReadRequest, ReadResponse, label_matcher};
use prost::Message as _;

use crate::daemon::{Daemon, data_folder};

/// Floats of every kind, a series that is longer than a chunk, a native histogram, one with custom buckets.
const LINES: &str = r#"{"metric":{"__name__":"custom","job":"a"},"histograms":[{"schema":-53,"count":6,"sum":9.5,"zero_threshold":0,"zero_count":0,"positive_spans":[[0,2]],"positive_buckets":[2,4],"custom_values":[0.5,1]}],"timestamps":[1700000000000]}
{"metric":{"__name__":"native","job":"a"},"histograms":[{"schema":2,"count":10,"sum":-0,"zero_threshold":0.001,"zero_count":1,"positive_spans":[[-3,1],[2,1]],"positive_buckets":[4,3],"negative_spans":[[0,1]],"negative_buckets":[2]},{"schema":0,"count":0,"sum":"7ff0000000000002","zero_threshold":0,"zero_count":0}],"timestamps":[1700000000000,1700000001000]}
{"metric":{"__name__":"odd.name","service.name":"a\"b\\c\nd"},"values":[1,null,"Infinity","-Infinity",-0,0.1,1e-300,1.2345678901234568e+17,null,null],"nan_bits":[[8,"7ff0000000000002"],[9,"fff8dead0000beef"]],"timestamps":[1700000000000,1700000000001,1700000000002,1700000000003,1700000000500,1700000001000,1700007200000,1700007200001,1700007260000,1700007320000]}
"#;

fn import(daemon: &Daemon, lines: &str) {
    let answer = daemon.post("/api/v1/import", &[], lines.as_bytes());
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn novascope(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_novascope"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NOVASCOPE_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn json_lines_and_blocks_bring_back_every_bit() {
    let (folder, data) = data_folder();
    let mut daemon = Daemon::start(&data, &["--self", "off", "--retention", "off"]);
    import(&daemon, LINES);
    // The same again changes nothing.
    import(&daemon, LINES);
    let exported = daemon.get("/api/v1/export?match[]={__name__!=%22%22}&match[]={job=%22a%22}");
    assert_eq!(exported.text(), LINES);
    let url = format!("http://{}", daemon.main);
    let live = folder.path().join("live");
    novascope(&["export", "prometheus", "--url", &url, text(&live)]);
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    let file = folder.path().join("out.jsonl");
    novascope(&["export", "jsonl", "--data", text(&data), text(&file)]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), LINES);
    let cold = folder.path().join("cold");
    novascope(&["export", "prometheus", "--data", text(&data), text(&cold)]);
    for blocks in [&live, &cold] {
        let again = folder.path().join("again");
        novascope(&["import", "prometheus", text(blocks), "--data", text(&again), "--retention", "off"]);
        let output = novascope(&["export", "jsonl", "--data", text(&again), "-"]);
        // Blocks say of histograms whether they follow a reset; the export says it where it is known.
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.replace(r#","reset_hint":"not_reset""#, ""), LINES);
        std::fs::remove_dir_all(again).unwrap();
    }
}

#[test]
fn openmetrics_goes_out_and_comes_in() {
    let (folder, data) = data_folder();
    let body = "# TYPE sent counter\n# HELP sent How \\\"much\\\".\nsent_total{a=\"x\\ny\"} 1 1700000000.000\n\
                sent_total{a=\"x\\ny\"} 2.5 1700000000.250\n# TYPE temp gauge\ntemp -0 1700000000.000\n\
                temp +Inf 1700000001.000\n# EOF\n";
    let file = folder.path().join("in.om");
    std::fs::write(&file, body).unwrap();
    novascope(&["import", "openmetrics", text(&file), "--data", text(&data), "--retention", "off"]);
    let daemon = Daemon::start(&data, &["--self", "off", "--retention", "off"]);
    let exported = daemon.get("/api/v1/export/openmetrics?match[]={__name__!=%22%22}");
    assert_eq!(exported.text(), body);
    let part = daemon.get("/api/v1/export/openmetrics?match[]=temp&start=1700000000.5");
    assert_eq!(part.text(), "# TYPE temp gauge\ntemp +Inf 1700000001.000\n# EOF\n");
    for (path, says) in [
        ("/api/v1/export", "no match[] parameter provided"),
        ("/api/v1/export?match[]=up&max_rows_per_line=0", "max_rows_per_line"),
        ("/api/v1/export?match[]=up{", "match[]"),
    ] {
        let answer = daemon.get(path);
        assert!(answer.status == 400 && answer.text().contains(says), "{path}: {}", answer.text());
    }
}

fn ask(name: &str, accepted: &[ResponseType]) -> Vec<u8> {
    let matcher = |name: &str, value: &str| LabelMatcher {
        r#type: label_matcher::Type::Eq as i32,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let query = |start: i64, end: i64| Query {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers: vec![matcher("__name__", name), matcher("zone", "eu")],
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query(1_700_000_000_000, 1_700_000_001_000), query(1_700_007_260_000, i64::MAX)],
        accepted_response_types: accepted.iter().map(|form| *form as i32).collect(),
    };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[test]
fn remote_read_answers_in_both_forms() {
    let (folder, data) = data_folder();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, "global: {external_labels: {zone: eu}}\n").unwrap();
    let daemon = Daemon::start(&data, &["--self", "off", "--retention", "off", "--config.file", text(&config)]);
    import(&daemon, LINES);
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let read = |name: &str, accepted: &[ResponseType]| {
        let answer = daemon.post("/api/v1/read", &headers, &ask(name, accepted));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    };
    // As samples: two results, external labels added, floats bit by bit.
    let bytes = snap::raw::Decoder::new().decompress_vec(&read("odd.name", &[])).unwrap();
    let answer = ReadResponse::decode(bytes.as_slice()).unwrap();
    let series = &answer.results[0].timeseries[0];
    assert_eq!(series.labels.last().unwrap().name, "zone");
    let values: Vec<u64> = series.samples.iter().map(|sample| sample.value.to_bits()).collect();
    let expect = [1.0, f64::from_bits(0x7ff8_0000_0000_0001), f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1];
    assert_eq!(values, expect.map(f64::to_bits));
    let late: Vec<u64> = answer.results[1].timeseries[0].samples.iter().map(|sample| sample.value.to_bits()).collect();
    assert_eq!(late, [0x7ff0_0000_0000_0002, 0xfff8_dead_0000_beef]);
    // As chunks, which is what the client names first.
    let both = [ResponseType::StreamedXorChunks, ResponseType::Samples];
    let body = read("odd.name", &both);
    let mut rest = body.as_slice();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    while let Some(frame) = frames::take(&mut rest).unwrap() {
        for chunk in frame.chunked_series.iter().flat_map(|series| &series.chunks) {
            xor::decode(&chunk.data, &mut times, &mut values).unwrap();
        }
    }
    assert!(rest.is_empty() && times.len() == 8 && values[4].to_bits() == (-0.0_f64).to_bits(), "{times:?}");
    let body = read("native", &both);
    let frame = frames::take(&mut body.as_slice()).unwrap().unwrap();
    let mut histograms = Vec::new();
    histogram::decode(Encoding::FloatHistogram, &frame.chunked_series[0].chunks[0].data, &mut histograms).unwrap();
    assert!(histograms.len() == 2 && histograms[0].1.count == 10.0 && histograms[1].1.is_stale());
}

#[test]
fn a_remote_read_that_is_wrong_is_400() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let matcher = LabelMatcher { r#type: label_matcher::Type::Re as i32, name: "a".into(), value: "(".into() };
    let query = Query { matchers: vec![matcher], ..Query::default() };
    let bad_regex = ReadRequest { queries: vec![query], ..ReadRequest::default() };
    let many = ReadRequest { queries: vec![Query::default(); 1000], ..ReadRequest::default() };
    let form = ReadRequest { queries: vec![], accepted_response_types: vec![7] };
    for (body, says) in [
        (b"no snappy".to_vec(), "snappy"),
        (snappy(b"\xff\xff\xff"), ""),
        (snappy(&bad_regex.encode_to_vec()), "regex"),
        (snappy(&many.encode_to_vec()), "64 queries"),
        (snappy(&form.encode_to_vec()), "does not support any"),
    ] {
        let answer = daemon.post("/api/v1/read", &[], &body);
        assert!(answer.status == 400 && answer.text().contains(says), "{says}: {} {}", answer.status, answer.text());
    }
}
