//! What a newcomer pastes.

use crate::api::instance::Instance;

/// Headings and texts, with the addresses under which this server was reached.
pub(super) fn snippets(instance: &Instance, host: &str) -> Vec<(&'static str, String)> {
    let otlp = if instance.otlp_grpc.is_empty() { host } else { &instance.otlp_grpc };
    vec![
        (
            "Grafana: a data source at one second",
            format!(
                "# /etc/grafana/provisioning/datasources/novascope.yaml\n\
                 apiVersion: 1\ndatasources:\n  - name: novascope\n    type: prometheus\n    url: http://{host}\n    \
                 jsonData:\n      timeInterval: 1s\n      httpMethod: POST\n      prometheusType: Prometheus\n"
            ),
        ),
        (
            "OpenTelemetry: point any SDK or collector here",
            format!(
                "export OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp}\nexport OTEL_METRIC_EXPORT_INTERVAL=1000\n\n\
                 # over HTTP instead of gRPC:\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n\
                 export OTEL_EXPORTER_OTLP_ENDPOINT=http://{host}\n"
            ),
        ),
        (
            "Prometheus: remote write",
            format!("# prometheus.yml of the sender\nremote_write:\n  - url: http://{host}/api/v1/write\n"),
        ),
        (
            "Scrape targets",
            "# novascope --config.file prometheus.yml\nscrape_configs:\n  - job_name: node\n    scrape_interval: 1s\n    \
             static_configs:\n      - targets: [\"localhost:9100\"]\n"
                .to_owned(),
        ),
        (
            "Ask with curl",
            format!(
                "curl -s 'http://{host}/api/v1/query' --data-urlencode 'query=sum by (mode) (rate(node_cpu_seconds_total[5s]))'\n"
            ),
        ),
    ]
}
