"""Prometheus as a sender, node_exporter as a target, promtool as a reader: Debian's packages as they are."""

import json
import subprocess
import time
import urllib.parse

from programs import fetch, until


def scrape_config(target):
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: exporter
  static_configs: [{{targets: ['{target}'], labels: {{rack: a1}}}}]
"""


def sender_config(target, server_url):
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{sender: debian}}}}
scrape_configs:
- job_name: exporter
  static_configs: [{{targets: ['{target}']}}]
remote_write:
- url: {server_url}/api/v1/write
  queue_config: {{batch_send_deadline: 100ms}}
  metadata_config: {{send_interval: 1s}}
"""


def node_exporter_scraped(server, target):
    """Scraped once a second, on a schedule, with type and help."""
    series = f'node_cpu_seconds_total{{job="exporter",instance="{target}",rack="a1",cpu="0",mode="idle"}}'
    until("eight scrapes", lambda: (server.value(f"count_over_time({series}[15s])") or 0) >= 8)
    assert server.value(f'up{{job="exporter",instance="{target}",rack="a1"}}') == 1
    values = server.query(f"{series}[15s]")[0]["values"]
    phases = [(one[0] - values[-1][0]) % 1 for one in values]
    held = [phase for phase in phases if min(phase, 1 - phase) < 0.05]
    # A busy machine may be late with one; the next is at its own second again.
    assert len(held) >= len(values) / 2, f"not once a second: {values}"
    assert values[-1][1] >= values[0][1]
    metadata = server.get("/api/v1/metadata", metric="node_cpu_seconds_total")
    assert metadata["node_cpu_seconds_total"][0]["type"] == "counter", metadata
    active = server.get("/api/v1/targets", state="active")["activeTargets"]
    mine = [one for one in active if one["labels"]["job"] == "exporter"]
    assert len(mine) == 1 and mine[0]["health"] == "up", active


def remote_write_from_prometheus(server, peer_url):
    """What the sender holds of a second ago is here with the same values."""
    until("samples from prometheus", lambda: server.value('up{sender="debian"}') == 1)
    until("rounds", lambda: (server.value('count_over_time(up{sender="debian"}[20s])') or 0) >= 5)
    at = time.time() - 2
    names = '__name__=~"node_(memory_MemTotal_bytes|boot_time_seconds|cpu_seconds_total)"'
    asked = urllib.parse.urlencode({"query": f"{{{names}}}", "time": at})
    _, body = fetch(f"{peer_url}/api/v1/query?{asked}")
    theirs = {key(one): one["value"][1] for one in json.loads(body)["data"]["result"]}
    ours = {key(one): one["value"][1] for one in server.query(f'{{{names},sender="debian"}}', time=at)}
    assert theirs and ours == theirs, f"{len(theirs)} series sent, {len(ours)} found, or values differ"
    until(
        "metadata",
        lambda: server.get("/api/v1/metadata", metric="node_boot_time_seconds").get("node_boot_time_seconds"),
    )


def key(one):
    labels = {name: value for name, value in one["metric"].items() if name != "sender"}
    return json.dumps(labels, sort_keys=True)


def promtool(server):
    """promtool's queries, which use Prometheus' own client library."""

    def run(*arguments):
        done = subprocess.run(["promtool", "query", *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"
        return done.stdout

    assert "scalar: 2 @" in run("instant", server.url, "1 + 1")
    assert 'up{instance=' in run("instant", server.url, 'up{job="exporter",rack="a1"}')
    end = int(time.time())
    series = 'up{job="exporter",rack="a1"}'
    assert run("range", f"--start={end - 3}", f"--end={end}", "--step=1s", server.url, series).count("=>") >= 1
    assert "node_load1" in run("labels", server.url, "__name__")
    assert 'mode="idle"' in run("series", '--match=node_cpu_seconds_total{cpu="0"}', server.url)
