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

/// Every file below a folder with its bytes.
fn content(folder: &Path, into: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            content(&path, into);
        } else {
            into.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    into.sort();
}

#[test]
fn commands_that_read_a_data_folder_change_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let now = Clock::real().now().div_euclid(MINUTE) * MINUTE;
    let (from, to) = (rfc3339(now - 20 * DAY), rfc3339(now - 20 * DAY + 90 * MINUTE));
    std::fs::write(folder.path().join("a.slo.yml"), SLOS).unwrap();
    std::fs::write(
        folder.path().join("prometheus.yml"),
        format!(
            "novascope:\n  slo: {{files: ['*.slo.yml']}}\n  alerting: {{maintenance: [{{name: disks, start: '{from}', end: '{to}'}}]}}\n"
        ),
    )
    .unwrap();
    std::fs::write(folder.path().join("r.yml"), "groups: [{name: g, rules: [{record: one, expr: vector(1)}]}]")
        .unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, config) = (path("data"), path("prometheus.yml"));
    let start = || Daemon::start(Path::new(&data), &["--self", "off", "--retention", "off", "--config.file", &config]);
    let mut daemon = start();
    import(&daemon, &history(now));
    let time = (now - DAY) / 1_000;
    let asked = daemon.get(&format!("/api/v1/slos?incidents=1&time={time}")).json()["data"].clone();
    assert_eq!(asked[0]["excluded_minutes"], 90.0, "the calendar of alerts is that of objectives: {asked}");

    let at = time.to_string();
    let report = |more: &[&str]| {
        let wanted = ["slo", "report", "--data", &data, "--format", "json", "--time", &at];
        crate::daemon::run_command(&[&wanted, more].concat())
    };
    let refused = report(&["--config.file", &config]);
    assert!(!refused.status.success() && refused.stderr.contains("in use by another process"), "{}", refused.stderr);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());

    let (mut before, mut after) = (Vec::new(), Vec::new());
    content(Path::new(&data), &mut before);
    let told = report(&["--config.file", &config]);
    assert!(told.status.success(), "{}", told.stderr);
    assert_eq!(serde_json::from_str::<Value>(&told.stdout).unwrap(), asked);
    let files = path("*.slo.yml");
    let told: Value = serde_json::from_str(&report(&["--slo.files", &files]).stdout).unwrap();
    assert_eq!((told[0]["excluded_minutes"].as_f64(), told[0]["name"].as_str()), (Some(0.0), Some("availability")));
    assert!(report(&[]).stderr.contains("--config.file"));

    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let out = |name: &str| out.join(name).display().to_string();
    let began = ((now - 31 * DAY) / 1_000).to_string();
    // Blocks of two hours, of which a month has many.
    let lately = (now / 1_000 - 10 * 3_600).to_string();
    let (lines, metrics, blocks, rules) = (out("a.jsonl"), out("a.txt"), out("blocks"), path("r.yml"));
    for command in [
        &["export", "jsonl", "--data", &data, &lines][..],
        &["export", "openmetrics", "--data", &data, &metrics],
        &["export", "prometheus", "--data", &data, "--start", &lately, &blocks],
        &["inspect", &data],
        &["check", &data],
        &["repair", "--dry-run", &data],
        &["rules", "replay", &rules, "--data", &data, "--start", &began, "--interval", "1h", "--dry-run"],
    ] {
        let ended = crate::daemon::run_command(command);
        assert!(ended.status.success(), "{command:?}: {}", ended.stderr);
    }
    let exported = std::fs::read_to_string(&lines).unwrap();
    let first = history(now)[0].0.to_string();
    assert!(exported.contains(&first), "the oldest sample leaves too");
    content(Path::new(&data), &mut after);
    let names = |all: &[(std::path::PathBuf, Vec<u8>)]| all.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "the bytes of a file changed");
    let again = start().get(&format!("/api/v1/slos?incidents=1&time={time}")).json()["data"].clone();
    assert_eq!(again, asked);
}

#[test]
fn maintenance_with_matchers_holds_for_the_objectives_that_they_choose() {
    let folder = tempfile::tempdir().unwrap();
    let now = Clock::real().now().div_euclid(MINUTE) * MINUTE;
    let (from, to) = (rfc3339(now - 3 * 3_600_000), rfc3339(now - 2 * 3_600_000));
    let objective = |name: &str| SLOS.replace("service: shop", &format!("service: {name}"));
    std::fs::write(folder.path().join("a.slo.yml"), objective("shop")).unwrap();
    std::fs::write(folder.path().join("b.slo.yml"), objective("bank")).unwrap();
    let config = folder.path().join("prometheus.yml");
    let window = |matcher: &str| {
        let settings = format!(
            "novascope:\n  slo: {{files: ['*.slo.yml']}}\n  alerting: {{maintenance: [{{name: m, start: '{from}', end: '{to}', matchers: ['{matcher}']}}]}}\n"
        );
        std::fs::write(&config, settings).unwrap();
    };
    window("service=shop");
    let daemon =
        Daemon::start(&folder.path().join("data"), &["--self", "off", "--config.file", config.to_str().unwrap()]);
    let excluded = || {
        let rows = daemon.get("/api/v1/slos").json()["data"].clone();
        let of = |service: &str| {
            let row = rows.as_array().unwrap().iter().find(|row| row["service"] == service).unwrap();
            row["excluded_minutes"].as_f64().unwrap()
        };
        (of("shop"), of("bank"))
    };
    assert_eq!(excluded(), (60.0, 0.0));
    let listed = daemon.get(&format!("/alerts/maintenance?start={from}&end={to}")).text();
    assert!(listed.contains("\"m\""), "{listed}");
    // One host, one alert: no objective as a whole.
    window("instance=h1");
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 200);
    assert_eq!(excluded(), (0.0, 0.0));
    window("slo=availability");
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 200);
    assert_eq!(excluded(), (60.0, 60.0));
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
