"""Data in and out with Debian's prometheus and promtool: remote read, exported blocks, OpenMetrics, an imported folder."""

import json
import pathlib
import subprocess
import time
import urllib.parse

from programs import Program, answers, fetch, free_port, until

QUERIES = (
    "node_memory_MemTotal_bytes",
    "max by (mode) (node_cpu_seconds_total)",
    'round(1000 * rate(node_cpu_seconds_total{cpu="0"}[10s]))',
    "count({__name__=~\"node_.+\"})",
    'max_over_time(node_load1[10s])',
)


def start(folder, name, config, data, flags=()):
    """A Prometheus of its own configuration and folder."""
    port = free_port()
    file = pathlib.Path(folder) / f"{name}.yml"
    file.write_text(config)
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    program = Program(name, folder, command)
    url = f"http://127.0.0.1:{port}"
    until(f"{name} is ready", lambda: answers(f"{url}/-/ready"))
    return program, url


def ask(url, query, at):
    status, body = fetch(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': at})}")
    answer = json.loads(body)
    assert status == 200, f"{query}: {answer}"
    result = answer["data"]["result"]
    return sorted(json.dumps([one["metric"], one.get("value") or one.get("histogram")], sort_keys=True) for one in result)


def same(one, other, at, why):
    for query in QUERIES:
        ours, theirs = ask(one, query, at), ask(other, query, at)
        assert ours and ours == theirs, f"{why}: {query}\n{ours[:3]}\n{theirs[:3]}"


def enough(server):
    """A time at which ten seconds of scrapes are there."""
    until("ten scrapes", lambda: (server.value('count_over_time(up{job="exporter",rack="a1"}[12s])') or 0) >= 10)
    # Off the grid of scrapes: older versions count a sample at the left edge of a range, newer ones do not.
    return int(time.time()) - 1 + 0.3337


def remote_read_by_prometheus(server, folder):
    """A Prometheus without data of its own, which reads everything here, answers as novascope does."""
    at = enough(server)
    config = f"remote_read: [{{url: '{server.url}/api/v1/read', read_recent: true}}]\n"
    reader, url = start(folder, "reader", config, pathlib.Path(folder) / "reader-data")
    try:
        same(server.url, url, at, "remote read")
    finally:
        reader.stop()


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]} {done.stderr[-1000:]}"
    return done.stdout


def exported_blocks(server, binary, folder):
    """promtool lists, dumps and analyses exported blocks, and a Prometheus that is started on them answers alike."""
    at = enough(server)
    blocks = pathlib.Path(folder) / "blocks"
    run(binary, "export", "prometheus", "--url", server.url, "--match", '{rack="a1"}', str(blocks))
    (blocks / "wal").mkdir()
    assert "NUM SAMPLES" in run("promtool", "tsdb", "list", str(blocks))
    dumped = run("promtool", "tsdb", "dump", str(blocks))
    assert dumped.count('__name__="node_load1"') >= 10, dumped[:500]
    assert "Label names:" in run("promtool", "tsdb", "analyze", str(blocks))
    owner, url = start(folder, "owner", "", blocks)
    try:
        for query in ('node_memory_MemTotal_bytes{rack="a1"}', 'max by (mode) (node_cpu_seconds_total{rack="a1"})'):
            assert ask(server.url, query, at) == ask(url, query, at) != [], query
    finally:
        owner.stop()


def exported_openmetrics(server, binary, folder):
    """promtool makes blocks of an exported file."""
    enough(server)
    file, made = pathlib.Path(folder) / "out.om", pathlib.Path(folder) / "made"
    run(binary, "export", "openmetrics", "--url", server.url, "--match", '{rack="a1",__name__=~"node_load.*|up"}', str(file))
    made.mkdir()
    listed = run("promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(made))
    assert "BLOCK ULID" in listed, listed
    assert file.read_text().endswith("# EOF\n")


def imported_folder(server, binary, folder, target):
    """The folder of a Prometheus with scraped, deleted and never deleted series comes in as that Prometheus has it."""
    data = pathlib.Path(folder) / "source-data"
    config = f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: exporter, static_configs: [{{targets: ['{target}']}}]}}]
"""
    source, url = start(folder, "source", config, data, ["--web.enable-admin-api"])
    try:
        until("scrapes", lambda: ask(url, "count_over_time(node_load1[1m]) > 4", time.time()))
        assert fetch(f"{url}/api/v1/admin/tsdb/delete_series?match[]=node_load5", b"")[0] == 204
        run(binary, "export", "prometheus", "--url", url, "--match", "node_load1",
            "--start", str(int(time.time()) - 600), "--end", str(int(time.time())), str(pathlib.Path(folder) / "theirs"))
        status, _ = fetch(f"{url}/api/v1/admin/tsdb/snapshot", b"")
        assert status == 200
        counted = int(json.loads(ask(url, "count_over_time(node_load1[1m])", time.time())[0])[1][1])
    finally:
        source.stop()
    into = pathlib.Path(folder) / "imported"
    run(binary, "import", "prometheus", str(data), "--data", str(into), "--retention", "off")
    exported = run(binary, "export", "jsonl", "--data", str(into), "-")
    lines = [json.loads(line) for line in exported.splitlines()]
    names = {line["metric"]["__name__"] for line in lines}
    assert "node_load1" in names and "node_load15" in names, names
    deleted = [line for line in lines if line["metric"]["__name__"] == "node_load5"]
    # What was scraped after the deletion is there, what was before is not.
    kept = sum(len(line["values"]) for line in deleted)
    whole = sum(len(line["values"]) for line in lines if line["metric"]["__name__"] == "node_load15")
    assert kept < whole - 3, f"{kept} of {whole} samples of a deleted series"
    assert whole >= counted, f"{whole} of {counted} samples"
    assert any((pathlib.Path(folder) / "theirs").iterdir()), "no block from the other's remote read"
