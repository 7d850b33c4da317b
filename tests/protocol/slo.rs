//! Objectives from outside: files, history, the list, alerts, reloads, restarts, reports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use novascope::base::clock::Clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, WAIT_MAX};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

const SLOS: &str = "
service: shop
labels: {team: web}
slos:
- name: availability
  objective: 99.9
  window: 30d
  sli:
    type: availability
    good: sum(rate(http_requests_total{code!~\"5..\"}[5m]))
    total: sum(rate(http_requests_total[5m]))
";

/// Ten minutes apart, uneven, of which the last two hours burn. Events by time: good, bad.
fn history(now: i64) -> Vec<(i64, u64, u64)> {
    (0..31 * 144)
        .map(|number| {
            let time = now - 31 * DAY + (number + 1) * 10 * MINUTE;
            let total = 1 + (number * number % 997).unsigned_abs() * if number % 144 < 40 { 1 } else { 7 };
            let bad = if time > now - 2 * 3_600_000 { total / 2 + 1 } else { u64::from(number % 13 == 0) };
            (time, total - bad.min(total), bad.min(total))
        })
        .collect()
}

fn import(daemon: &Daemon, events: &[(i64, u64, u64)]) {
    let (mut good, mut bad, mut text) = (0, 0, String::new());
    for (time, more_good, more_bad) in events {
        good += more_good;
        bad += more_bad;
        text.push_str(&format!(
            "http_requests_total{{code=\"200\"}} {good} {time}\nhttp_requests_total{{code=\"500\"}} {bad} {time}\n"
        ));
    }
    let answer = daemon.post("/api/v1/import/prometheus", &[("content-type", "text/plain")], text.as_bytes());
    assert!(answer.status < 300, "{}", answer.text());
}

fn rfc3339(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).unwrap().to_string()
}

/// Asks until the answer is as wanted.
fn wait_for(daemon: &Daemon, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let clock = Clock::real();
    loop {
        let answer = daemon.get(path).json();
        if wanted(&answer) {
            return answer;
        }
        assert!(clock.monotonic() < WAIT_MAX, "{path}: {answer}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn start(folder: &Path) -> Daemon {
    let pattern = folder.join("*.slo.yml").display().to_string();
    Daemon::start(&folder.join("data"), &["--self", "off", "--retention", "off", "--slo.files", &pattern])
}

#[test]
fn budgets_count_history_and_alerts_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let now = Clock::real().now().div_euclid(MINUTE) * MINUTE;
    let planned = (now - 20 * DAY, now - 20 * DAY + 90 * MINUTE);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.slo.yml", SLOS);
    let (from, to) = (rfc3339(planned.0), rfc3339(planned.1));
    write("b.slo.yml", &format!("maintenance: [{{name: disks, start: '{from}', end: '{to}'}}]\n"));
    let daemon = start(folder.path());
    let events = history(now);
    import(&daemon, &events);

    let time = now - 5 * DAY - 1;
    let inside = |at: i64| time - 30 * DAY < at && at <= time && !(planned.0 < at && at <= planned.1);
    let of = |count: fn(&(i64, u64, u64)) -> u64| events.iter().filter(|e| inside(e.0)).map(count).sum::<u64>() as f64;
    let (good, bad) = (of(|event| event.1), of(|event| event.2));
    let path = format!("/api/v1/slos?time={}.{:03}&name=availability", time / 1_000, time % 1_000);
    let check = |daemon: &Daemon| {
        let answer = daemon.get(&path).json();
        let row = &answer["data"][0];
        assert_eq!(answer["status"], "success");
        assert_eq!((row["good"].as_f64(), row["total"].as_f64()), (Some(good), Some(good + bad)), "{row}");
        let remaining = 1.0 - bad / (good + bad) / 0.001;
        assert!((row["error_budget_remaining"].as_f64().unwrap() - remaining).abs() < 1e-9, "{row}");
        assert_eq!((row["excluded_minutes"].as_f64(), row["objective"].as_f64()), (Some(90.0), Some(0.999)));
        assert_eq!((&row["service"], &row["labels"]["team"]), (&Value::from("shop"), &Value::from("web")));
        assert!(row["burn_rates"]["1h"].is_number(), "{row}");
    };
    check(&daemon);

    // It burns now: the alerts are alerts like any other.
    let fires = |alerts: &Value| {
        alerts["data"]["alerts"].as_array().is_some_and(|alerts| alerts.iter().any(|a| a["labels"]["long"] == "1h"))
    };
    let alerts = wait_for(&daemon, "/api/v1/alerts", fires);
    let alert =
        alerts["data"]["alerts"].as_array().unwrap().iter().find(|a| a["labels"]["long"] == "1h").unwrap().clone();
    assert_eq!(
        (&alert["labels"]["alertname"], &alert["labels"]["slo"]),
        (&Value::from("ErrorBudgetBurn"), &Value::from("availability"))
    );
    let rules = daemon.get("/api/v1/rules?type=alert").json();
    assert_eq!(rules["data"]["groups"][0]["name"], "slo shop-availability");
    wait_for(&daemon, "/api/v2/alerts?filter=alertname%3DErrorBudgetBurn", |alerts| {
        alerts.as_array().is_some_and(|a| !a.is_empty())
    });

    // A broken file changes nothing.
    write("c.slo.yml", "slos: [{name: x, objectiv: 1}]\n");
    let answer = daemon.post("/-/reload", &[], b"");
    assert!(answer.status >= 400 && answer.text().contains("did you mean"), "{}", answer.text());
    check(&daemon);
    std::fs::remove_file(folder.path().join("c.slo.yml")).unwrap();

    let mut ended = daemon;
    ended.signal(Signal::TERM);
    assert!(ended.wait().success());
    let daemon = start(folder.path());
    check(&daemon);
    let again = wait_for(&daemon, "/api/v1/alerts", fires);
    let same = again["data"]["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .any(|a| a["labels"]["long"] == "1h" && a["activeAt"] == alert["activeAt"]);
    assert!(same, "{again}");

    let report = |format: &str| {
        let url = format!("http://{}", daemon.main);
        let output = Command::new(env!("CARGO_BIN_EXE_novascope"))
            .args(["slo", "report", "--url", &url, "--format", format])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(report("csv").lines().nth(1).unwrap().starts_with("availability,shop,team=web,0.999,30d,"));
    let rows: Value = serde_json::from_str(&report("json")).unwrap();
    assert!(!rows[0]["incidents"].as_array().unwrap().is_empty(), "{rows}");
    assert!(report("html").contains("shop / availability"));
}

#[test]
fn check_slo_names_the_place_and_the_near_key() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = folder.path().join("s.yml");
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_novascope")).args(["check", "slo"]).arg(&path).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, text) = check(SLOS);
    assert!(code == Some(0) && text.contains("SUCCESS: 1 objectives"), "{text}");
    let (code, text) = check(&SLOS.replace("window:", "windw:"));
    assert_eq!(code, Some(1));
    assert!(
        text.contains("s.yml:7:3: unknown key \"windw\": did you mean \"window\"?\n    windw: 30d\n    ^"),
        "{text}"
    );
}
