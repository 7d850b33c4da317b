//! Where series come from: over HTTP and from the command line.

use serde_json::Value;

use crate::daemon::{Daemon, data_folder, run_command};

/// Series: three metrics of two senders, one of which sends more.
fn start() -> (tempfile::TempDir, Daemon) {
    let (folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let mut text = String::new();
    for host in 0..10 {
        text.push_str(&format!("cpu{{job=\"node\",instance=\"h:1\",core=\"{host}\"}} 1\n"));
    }
    for path in ["/", "/a", "/b"] {
        text.push_str(&format!("hits_total{{job=\"web\",instance=\"w:1\",path=\"{path}\"}} 1\n"));
    }
    text.push_str("up{job=\"web\",instance=\"w:1\"} 1\nup{job=\"node\",instance=\"h:1\"} 1\n");
    let answer = daemon.post("/api/v1/import/prometheus", &[("content-type", "text/plain")], text.as_bytes());
    assert!(answer.status < 300, "{}", answer.text());
    (folder, daemon)
}

fn pairs(list: &Value) -> Vec<(String, u64)> {
    let entries = list.as_array().unwrap().iter();
    entries.map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry["value"].as_u64().unwrap())).collect()
}

fn owned(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn series_are_counted_by_metric_label_value_and_sender() {
    let (_folder, daemon) = start();
    daemon.query("hits_total");
    let ask = |parameters: &str| daemon.get(&format!("/api/v1/status/cardinality?{parameters}"));
    let all = ask("topN=5&focusLabel=job").json()["data"].clone();
    assert_eq!((all["totalSeries"].as_u64(), all["totalLabelValuePairs"].as_u64()), (Some(15), Some(20)));
    assert_eq!(pairs(&all["seriesCountByMetricName"]), owned(&[("cpu", 10), ("hits_total", 3), ("up", 2)]));
    assert_eq!(pairs(&all["seriesCountByFocusLabelValue"]), owned(&[("node", 11), ("web", 4)]));
    let senders: Vec<_> = all["seriesCountBySender"].as_array().unwrap().iter().map(|s| s["value"].as_u64()).collect();
    assert_eq!(senders, [Some(11), Some(4)]);
    assert_eq!(pairs(&all["labelValueCountByLabelName"])[0], ("core".to_owned(), 10));
    assert_eq!(all["churn"]["lastHour"]["created"], 15);
    let hits = &all["seriesCountByMetricName"][1];
    assert!(
        hits["requestsCount"].as_u64() >= Some(1) && all["seriesCountByMetricName"][0]["requestsCount"] == 0,
        "{all}"
    );

    let chosen = ask("match[]=%7Bjob%3D%22web%22%7D").json()["data"].clone();
    assert_eq!(pairs(&chosen["seriesCountByMetricName"]), owned(&[("hits_total", 3), ("up", 1)]));
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    assert_eq!(ask(&format!("date={today}")).json()["data"]["totalSeries"], 15);
    assert_eq!(ask("date=2001-01-01").json()["data"]["totalSeries"], 0);
    for wrong in ["limit=0", "topN=x", "date=tomorrow", "match[]=%7B", "start=x"] {
        let answer = ask(wrong);
        assert_eq!((answer.status, answer.json()["errorType"].as_str()), (400, Some("bad_data")), "{wrong}");
    }
    let unasked = daemon.get("/api/v1/status/metric_names_stats?le=0").json()["data"]["records"].clone();
    let names: Vec<_> =
        unasked.as_array().unwrap().iter().map(|record| record["metricName"].as_str().unwrap()).collect();
    assert_eq!(names, ["cpu", "up"]);
}

#[test]
fn the_command_takes_the_server_with_and_without_a_flag() {
    let (_folder, daemon) = start();
    let url = format!("http://{}", daemon.main);
    let said = |arguments: &[&str]| {
        let ended = run_command(&[&["cardinality"], arguments].concat());
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    };
    let plain = said(&[&url, "--top", "2", "--focus", "job"]);
    assert_eq!(plain, said(&["--url", &url, "--top", "2", "--focus", "job"]));
    for line in ["15 series", "          10  cpu", "          11  job=\"node\" instance=\"h:1\"", "          11  node"]
    {
        assert!(plain.contains(line), "{line}: {plain}");
    }
    let json: Value = serde_json::from_str(&said(&["--url", &url, "--json", "--match", "up"])).unwrap();
    assert_eq!(json["totalSeries"], 2);
    for wrong in [&["cardinality"][..], &["cardinality", &url, "--url", &url]] {
        assert_eq!(run_command(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
