//! Three doors: configurations as YAML, bodies into a store without a network, and whole pools over loopback.

mod live;

use std::time::Duration;

use super::append::{Figures, Sink};
use super::body::{BodyReader, Counts};
use super::config::Job;
use super::target::{Outcome, build_all};
use super::*;
use crate::ingest::discovery::Group;
use crate::ingest::exposition::Format;
use crate::ingest::fixture::{Fixture, NOW};

fn configs(yaml: &str) -> Vec<Config> {
    serde_saphyr::from_str(yaml).unwrap()
}

fn job(yaml: &str) -> Job {
    configs(&format!("[{yaml}]"))[0].resolve(&Defaults::default(), Path::new("/etc")).unwrap()
}

fn target(job: &Job, labels: &[(&str, &str)]) -> Target {
    let own = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match Target::build(job, &own, &BTreeMap::new()).unwrap() {
        Outcome::Target(target) => *target,
        Outcome::Dropped(labels) => panic!("dropped {labels}"),
    }
}

/// Scrapes one target once a second from [`NOW`] on, each body or failure in turn. Gives the errors and the store,
/// without `scrape_duration_seconds`.
fn scrapes(yaml: &str, bodies: &[Option<&str>]) -> (Vec<String>, String) {
    let fixture = Fixture::new();
    let job = job(yaml);
    let target = Arc::new(target(&job, &[("__address__", "host:80"), ("env", "prod")]));
    let mut sink = Sink::new(Arc::clone(&fixture.store), Arc::clone(&target));
    let mut errors = Vec::new();
    for (round, body) in bodies.iter().enumerate() {
        let time = NOW + 1_000 * round as i64;
        let mut scratch = Vec::new();
        let mut counts = Counts::default();
        let mut batch = None;
        if let Some(body) = body {
            let cache = &mut sink.cache;
            let mut reader = BodyReader { job: &job, target: &target, cache, time, scratch: &mut scratch };
            let (counted, read) = reader.read(body.as_bytes(), Format::Text);
            counts = counted;
            match read {
                Ok(read) => batch = Some(read),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let up = batch.is_some();
        let figures = |outcome: append::Outcome| {
            let (scraped, kept, added) = (counts.total, counts.kept, outcome.added);
            Figures { up, duration: Duration::ZERO, scraped, kept, added, body_bytes: 0 }
        };
        sink.append(&job, batch.as_ref(), time, figures).wait().unwrap();
    }
    let dump = fixture.dump();
    let lines = dump.lines().filter(|line| !line.starts_with("scrape_duration_seconds"));
    (errors, lines.map(|line| line.replace("{env=\"prod\", instance=\"host:80\", job=\"j\"}", "{…}") + "\n").collect())
}

#[track_caller]
fn check(yaml: &str, bodies: &[Option<&str>], expect: &expect_test::Expect) {
    let (errors, dump) = scrapes(yaml, bodies);
    let errors: String = errors.iter().map(|error| format!("error {error}\n")).collect();
    expect.assert_eq(&(errors + &dump));
}

#[test]
fn series_come_go_and_come_back() {
    check(
        "{job_name: j}",
        &[Some("a 1\nb 2\n"), Some("b 3\na 4\n"), Some("b 5\n"), None, None, Some("a 6\nb 7\n")],
        &expect_test::expect![[r#"
            a{…} 1@0 4@1000 stale@2000 6@5000
            b{…} 2@0 3@1000 5@2000 stale@3000 7@5000
            scrape_samples_post_metric_relabeling{…} 2@0 2@1000 1@2000 0@3000 0@4000 2@5000
            scrape_samples_scraped{…} 2@0 2@1000 1@2000 0@3000 0@4000 2@5000
            scrape_series_added{…} 2@0 0@1000 0@2000 0@3000 0@4000 1@5000
            up{…} 1@0 1@1000 1@2000 0@3000 0@4000 1@5000
        "#]],
    );
}

#[test]
fn a_body_is_taken_whole_or_not_at_all() {
    check(
        "{job_name: j, sample_limit: 2}",
        &[Some("a 1\n"), Some("a 2\nb 1\nc 1\n"), Some("a 3\nb oops\n"), Some("a 4\n")],
        &expect_test::expect![[r#"
            error sample limit exceeded
            error 2:3: "oops" is not a number
            a{…} 1@0 stale@1000 4@3000
            scrape_samples_post_metric_relabeling{…} 1@0 3@1000 1@2000 1@3000
            scrape_samples_scraped{…} 1@0 3@1000 1@2000 1@3000
            scrape_series_added{…} 1@0 0@1000 0@2000 0@3000
            up{…} 1@0 0@1000 0@2000 1@3000
        "#]],
    );
}

#[test]
fn the_labels_of_the_target_win_or_give_way() {
    let body = "a{job=\"x\",env=\"y\",exported_env=\"z\",instance=\"\"} 1\n";
    check(
        "{job_name: j}",
        &[Some(body)],
        &expect_test::expect![[r#"
        a{env="prod", exported_env="z", exported_exported_env="y", exported_job="x", instance="host:80", job="j"} 1@0
        scrape_samples_post_metric_relabeling{…} 1@0
        scrape_samples_scraped{…} 1@0
        scrape_series_added{…} 1@0
        up{…} 1@0
    "#]],
    );
    check(
        "{job_name: j, honor_labels: true}",
        &[Some(body)],
        &expect_test::expect![[r#"
        a{env="y", exported_env="z", job="x"} 1@0
        scrape_samples_post_metric_relabeling{…} 1@0
        scrape_samples_scraped{…} 1@0
        scrape_series_added{…} 1@0
        up{…} 1@0
    "#]],
    );
}

#[test]
fn metric_relabelling_renames_and_drops_after_the_target_labels() {
    let yaml = "{job_name: j, metric_relabel_configs: [
        {source_labels: [__name__], regex: 'go_.*', action: drop},
        {source_labels: [env, x], regex: 'prod;(.*)', target_label: y}]}";
    check(
        yaml,
        &[Some("go_a 1\nb{x=\"1\"} 2\n"), Some("go_a 1\nb{x=\"1\"} 3\n")],
        &expect_test::expect![[r#"
        b{env="prod", instance="host:80", job="j", x="1", y="1"} 2@0 3@1000
        scrape_samples_post_metric_relabeling{…} 1@0 1@1000
        scrape_samples_scraped{…} 2@0 2@1000
        scrape_series_added{…} 1@0 0@1000
        up{…} 1@0 1@1000
    "#]],
    );
}

#[test]
fn exposed_timestamps_are_honored_and_not_tracked() {
    let bodies = [Some("a 1 1699999990000\n"), Some("")];
    check(
        "{job_name: j}",
        &bodies,
        &expect_test::expect![[r#"
        a{…} 1@-10000
        scrape_samples_post_metric_relabeling{…} 1@0 0@1000
        scrape_samples_scraped{…} 1@0 0@1000
        scrape_series_added{…} 1@0 0@1000
        up{…} 1@0 1@1000
    "#]],
    );
    check(
        "{job_name: j, honor_timestamps: false}",
        &bodies,
        &expect_test::expect![[r#"
        a{…} 1@0 stale@1000
        scrape_samples_post_metric_relabeling{…} 1@0 0@1000
        scrape_samples_scraped{…} 1@0 0@1000
        scrape_series_added{…} 1@0 0@1000
        up{…} 1@0 1@1000
    "#]],
    );
    check(
        "{job_name: j, track_timestamps_staleness: true}",
        &bodies,
        &expect_test::expect![[r#"
        a{…} 1@-10000 stale@1000
        scrape_samples_post_metric_relabeling{…} 1@0 0@1000
        scrape_samples_scraped{…} 1@0 0@1000
        scrape_series_added{…} 1@0 0@1000
        up{…} 1@0 1@1000
    "#]],
    );
}

#[test]
fn classic_histograms_become_native_ones() {
    let body = "# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 2\nh_bucket{x=\"1\",le=\"+Inf\"} 3\nh_sum{x=\"1\"} 4.5\n\
                h_count{x=\"1\"} 3\n# TYPE g gauge\ng 1\n";
    let yaml = "{job_name: j, convert_classic_histograms_to_nhcb: true}";
    check(
        yaml,
        &[Some(body), Some(body), Some("g 1\n")],
        &expect_test::expect![[r#"
        g{…} 1@0 1@1000 1@2000
        h{env="prod", instance="host:80", job="j", x="1"} h{schema=-53 count=3 sum=4.5 zero=0 +[(0, 2)][2.0, 1.0] -[][] [1.0]}@0 h{schema=-53 count=3 sum=4.5 zero=0 +[(0, 2)][2.0, 1.0] -[][] [1.0]}@1000 stale@2000
        scrape_samples_post_metric_relabeling{…} 2@0 2@1000 1@2000
        scrape_samples_scraped{…} 2@0 2@1000 1@2000
        scrape_series_added{…} 2@0 0@1000 0@2000
        up{…} 1@0 1@1000 1@2000
    "#]],
    );
}

#[test]
fn limits_and_bad_names_fail_the_scrape() {
    for (keys, body, expected) in [
        ("label_limit: 4", "a{b=\"1\"} 1\n", "label_limit exceeded (metric: a, number of labels: 5, limit: 4)"),
        ("label_name_length_limit: 8", "a{bbbbbbbbb=\"1\"} 1\n", "label_name_length_limit exceeded"),
        ("label_value_length_limit: 8", "a{b=\"123456789\"} 1\n", "label_value_length_limit exceeded"),
        ("metric_name_validation_scheme: legacy", "{\"a.b\"} 1\n", "invalid metric name or label names"),
        ("honor_labels: true", "a{b=\"1\",b=\"2\"} 1\n", "label name \"b\" is not unique"),
    ] {
        let (errors, _) = scrapes(&format!("{{job_name: j, {keys}}}"), &[Some(body)]);
        assert!(errors.len() == 1 && errors[0].contains(expected), "{keys}: {errors:?}");
    }
}

#[test]
fn a_target_is_what_relabelling_makes_of_it() {
    let job = job("{job_name: probe, scheme: https, metrics_path: /probe, params: {module: [http], x: ['1', '2']},
          scrape_interval: 5s, relabel_configs: [
            {source_labels: [__address__], target_label: __param_target},
            {source_labels: [__param_target], target_label: instance},
            {source_labels: [__meta_kind], target_label: kind},
            {source_labels: [instance], regex: 'bad.*', action: drop},
            {target_label: __address__, replacement: 'exporter:9115'}]}");
    let probe = target(&job, &[("__address__", "https://a b"), ("__meta_kind", "web")]);
    assert_eq!(probe.url.to_string(), "https://exporter:9115/probe?module=http&target=https%3A%2F%2Fa+b&x=1&x=2");
    assert_eq!(probe.labels.to_string(), r#"{instance="https://a b", job="probe", kind="web"}"#);
    assert_eq!(probe.discovered.get("__scrape_interval__"), Some("5s"));
    assert_eq!((probe.interval.as_millis(), probe.timeout.as_millis()), (5_000, 5_000));
    let groups = [Group {
        targets: ["a", "a", "bad1", "c/d"]
            .map(|address| BTreeMap::from([("__address__".to_owned(), address.to_owned())]))
            .to_vec(),
        labels: BTreeMap::new(),
    }];
    let built = build_all(&job, &groups);
    assert_eq!((built.targets.len(), built.dropped_total, built.dropped.len()), (2, 1, 1));
}

#[test]
fn configurations_that_cannot_work_say_why() {
    let resolve = |yaml: &str| {
        let configs: Vec<Config> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config::resolve_all(&configs, &Defaults::default(), Path::new("")).map_err(|error| error.to_string())
    };
    for (yaml, expected) in [
        ("[{job_name: ''}]", "job_name is empty"),
        ("[{job_name: a}, {job_name: a}]", "multiple scrape configs with job name \"a\""),
        ("[{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]", "timeout 6s is greater than scrape interval 5s"),
        ("[{job_name: a, scrape_interval: 50ms}]", "shorter than 100ms"),
        ("[{job_name: a, kubernetes_sd_configs: [{role: pod}]}]", "kubernetes_sd_configs is not supported"),
        ("[{job_name: a, scheme: gopher}]", "scheme \"gopher\""),
        ("[{job_name: a, static_configs: [{targets: ['http://x']}]}]", "not a valid hostname"),
        ("[{job_name: a, relabel_configs: [{action: hashmod, target_label: x}]}]", "relabel_configs: rule 1"),
        ("[{job_name: a, scrape_protocols: [PrometheusProto, PrometheusProto]}]", "duplicated protocol"),
        ("[{job_name: a, scrape_protocols: []}]", "cannot be empty"),
        ("[{job_name: a, basic_auth: {username: x}, bearer_token: y}]", "at most one of basic_auth"),
        ("[{job_name: a, metric_name_escaping_scheme: allow-utf-8, metric_name_validation_scheme: legacy}]", "utf8"),
        ("[{job_name: a, scrape_intervall: 1s}]", "scrape_intervall"),
    ] {
        let error = resolve(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
    let jobs = resolve("[{job_name: a, relabel_configs: null, native_histogram_min_bucket_factor: 1.1}]").unwrap();
    assert_eq!(jobs[0].histogram_schema_max, Some(2));
    assert_eq!((jobs[0].interval.as_millis(), jobs[0].timeout.as_millis()), (60_000, 10_000));
}
