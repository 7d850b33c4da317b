"""What OpenTelemetry's Python SDK sends, and what a sender of JSON sends."""

import json
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from programs import fetch

DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


def exporters(server):
    """Every transport of the SDK, on both ports that take it."""
    grpc = {"insecure": True, "timeout": 10}
    return {
        "grpc": GrpcExporter(endpoint=f"http://{server.otlp_grpc}", **grpc),
        "grpc-main-port": GrpcExporter(endpoint=server.url, **grpc),
        "http": HttpExporter(endpoint=f"http://{server.otlp_http}/v1/metrics"),
        "http-gzip": HttpExporter(
            endpoint=f"{server.url}/api/v1/otlp/v1/metrics", compression=Compression.Gzip
        ),
        "grpc-delta": GrpcExporter(
            endpoint=f"http://{server.otlp_grpc}", preferred_temporality=DELTA, **grpc
        ),
    }


def sdk_over(server, name, exporter):
    """Sends three rounds by one transport; after each acknowledgement the sum must be there within a second."""
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource({"service.name": "shop", "service.instance.id": name, "deployment.environment": "test"})
    exponential = View(instrument_name="pause", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource=resource, views=[exponential])
    meter = provider.get_meter("clients", "1.0")
    orders = meter.create_counter("orders", unit="1", description="Orders taken.")
    delay = meter.create_histogram("delay", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    pause = meter.create_histogram("pause", unit="s")
    stock = meter.create_gauge("stock")
    for round_number in range(1, 4):
        orders.add(2, {"kind": "web"})
        delay.record(0.05, {"kind": "web"})
        delay.record(0.5, {"kind": "web"})
        pause.record(0.25)
        stock.set(10 * round_number)
        assert reader.force_flush(), "the exporter reports failure"
        acknowledged = time.monotonic()
        labels = f'instance="{name}"'
        expected = {
            f'orders_total{{{labels},kind="web",job="shop"}}': 2 * round_number,
            f'delay_seconds_count{{{labels}}}': 2 * round_number,
            f'delay_seconds_bucket{{{labels},le="0.1"}}': round_number,
            f'delay_seconds_sum{{{labels}}}': 0.55 * round_number,
            f'histogram_count(pause_seconds{{{labels}}})': round_number,
            f'histogram_sum(pause_seconds{{{labels}}})': 0.25 * round_number,
            f'stock{{{labels}}}': 10 * round_number,
        }
        for query, value in expected.items():
            found = server.value(query)
            assert found is not None and abs(found - value) < 1e-9, f"{query}: {found}, not {value}"
        assert time.monotonic() - acknowledged < 1.0, "not queryable within a second"
        # The dedup window keeps the last sample of a second, so a round takes the next one.
        time.sleep(1.05)
    info = server.query(f'target_info{{instance="{name}"}}')
    assert len(info) == 1 and info[0]["metric"]["deployment_environment"] == "test", info
    provider.shutdown()


def json_by_hand(server):
    """OTLP as JSON, as browsers and scripts send it."""
    now = time.time_ns()
    point = {"asInt": "7", "timeUnixNano": str(now), "attributes": [{"key": "n", "value": {"stringValue": "1"}}]}
    metric = {"name": "by.hand", "gauge": {"dataPoints": [point]}}
    body = {
        "resourceMetrics": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "script"}}]},
                "scopeMetrics": [{"scope": {"name": "s"}, "metrics": [metric]}],
            }
        ]
    }
    for url in (f"http://{server.otlp_http}/v1/metrics", f"{server.url}/v1/metrics"):
        status, answer = fetch(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert status == 200, f"{url}: {status} {answer}"
    assert server.value('by_hand{job="script",n="1"}') == 7
