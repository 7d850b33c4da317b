use expect_test::{Expect, expect};

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[track_caller]
fn check_fault(files: &[(&str, &str)], expect: &Expect) {
    let folder = folder(files);
    let error = load(&folder.path().join("prometheus.yml")).unwrap_err().to_string();
    expect.assert_eq(&error.replace(&format!("{}/", folder.path().display()), ""));
}

/// The file that Debian's package installs, without its comments' first lines.
const DEBIAN: &str = "
global:
  scrape_interval:     15s # Set the scrape interval to every 15 seconds. Default is every 1 minute.
  evaluation_interval: 15s
  external_labels:
      monitor: 'example'
alerting:
  alertmanagers:
  - static_configs:
    - targets: ['localhost:9093']
rule_files:
  # - \"first_rules.yml\"
scrape_configs:
  - job_name: 'prometheus'
    scrape_interval: 5s
    static_configs:
      - targets: ['localhost:9090']
  - job_name: node
    static_configs:
      - targets: ['localhost:9100']
";

#[test]
fn tracing_is_read_as_prometheus_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prometheus.yml");
    let loaded = |text: &str| {
        fs::write(&path, text).unwrap();
        load(&path).map(|loaded| loaded.config.tracing).map_err(|error| error.to_string())
    };
    let tracing = loaded("tracing: {endpoint: 'a:4317', tls_config: {ca_file: ca.pem}}").unwrap().unwrap();
    assert_eq!(tracing.url(), "https://a:4317");
    assert_eq!(tracing.tls_config.unwrap().ca_file, Some(folder.path().join("ca.pem")));
    for (text, fault) in [
        ("tracing: {endpoint: ''}", "HOST:PORT"),
        ("tracing: {endpoint: 'http://a:1'}", "without a scheme"),
        ("tracing: {endpoint: 'a:1', sampling_fraction: 1.5}", "between 0 and 1"),
        ("tracing: {endpoint: 'a:1', client_type: udp}", "grpc"),
        ("tracing: {endpont: 'a:1'}", "endpoint"),
    ] {
        let error = loaded(text).unwrap_err();
        assert!(error.contains(fault), "{text}: {error}");
    }
}

#[test]
fn a_prometheus_yml_is_read_as_it_is() {
    let folder = folder(&[("prometheus.yml", DEBIAN)]);
    let config = load(&folder.path().join("prometheus.yml")).unwrap().config;
    assert_eq!(config.global.scrape_interval.to_string(), "15s");
    assert_eq!(config.global.external_labels["monitor"], "example");
    assert_eq!((config.scrape_configs.len(), config.rule_groups.len()), (2, 0));
}

#[test]
fn unknown_keys_are_named_in_every_file() {
    check_fault(
        &[("prometheus.yml", "global:\n  scrape_intervall: 1s\n")],
        &expect![[r#"
        prometheus.yml:2:3: unknown key "scrape_intervall": did you mean "scrape_interval"?
            scrape_intervall: 1s
            ^"#]],
    );
    check_fault(
        &[
            ("prometheus.yml", "scrape_config_files: ['jobs-*.yml']\n"),
            ("jobs-a.yml", "scrape_configs: []\n"),
            ("jobs-b.yml", "scrape_config: []\n"),
        ],
        &expect![[r#"
            jobs-b.yml:1:1: unknown key "scrape_config": did you mean "scrape_configs"?
              scrape_config: []
              ^"#]],
    );
    check_fault(
        &[("prometheus.yml", ""), ("novascope.yml", "listen:\n  conections_max: 5\n")],
        &expect![[r#"
        novascope.yml:2:3: unknown key "conections_max": did you mean "connections_max"?
            conections_max: 5
            ^"#]],
    );
}

#[test]
fn own_settings_stand_in_one_place() {
    let inside = "novascope: {listen: {connections_max: 5}}\n";
    let beside = "listen: {connections_max: 6}\n";
    check_fault(
        &[("prometheus.yml", inside), ("novascope.yml", beside)],
        &expect!["prometheus.yml: settings stand under novascope: and in novascope.yml; keep one of them"],
    );
    for (files, expect) in [
        (vec![("prometheus.yml", inside)], 5),
        (vec![("prometheus.yml", ""), ("novascope.yml", beside)], 6),
        (vec![("prometheus.yml", ""), ("novascope.yml", "# nothing\n")], 4096),
    ] {
        let folder = folder(&files);
        let config = load(&folder.path().join("prometheus.yml")).unwrap().config;
        assert_eq!(config.own.listen.connections_max, expect);
    }
}

#[test]
fn a_missing_file_is_said_so() {
    check_fault(&[], &expect!["prometheus.yml: cannot read it: No such file or directory (os error 2)"]);
    check_fault(
        &[("prometheus.yml", "scrape_config_files: [gone.yml]")],
        &expect!["gone.yml: cannot read it: No such file or directory (os error 2)"],
    );
}

#[test]
fn prometheus_limits_of_storage_are_taken_where_our_own_say_nothing() {
    let taken = |text: &str| {
        let folder = folder(&[("prometheus.yml", text)]);
        load(&folder.path().join("prometheus.yml")).map(|loaded| {
            let store = loaded.config.own.store;
            (store.retention.as_millis().unwrap_or(0) / 86_400_000, store.size_max.as_u64(), store.size_percentage)
        })
    };
    let of = |limits: &str| taken(&format!("storage: {{tsdb: {{retention: {{{limits}}}}}}}")).unwrap();
    assert_eq!(of("time: 15d, size: 1GB"), (15, 1 << 30, 0.0));
    assert_eq!(
        of("time: 15d, size: 1GB, percentage: 80"),
        (15, 0, 80.0),
        "the percentage prevails, as Prometheus has it"
    );
    assert_eq!(of("percentage: 0, size: 1GB"), (7, 1 << 30, 0.0));
    let own = "storage: {tsdb: {retention: {time: 15d, percentage: 80}}}\nnovascope: {store: {retention: 3d, size_percentage: 9}}";
    assert_eq!(taken(own).unwrap(), (3, 0, 9.0));
    assert!(taken("storage: {tsdb: {retention: {percentage: 101}}}").is_err());
}
