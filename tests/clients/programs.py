"""Programs that the tests run: novascope itself, Debian's prometheus and node_exporter. Each on free ports, in a
folder of its own, ended by its own process id."""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

WAIT_MAX = 30.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, attempt, limit=WAIT_MAX):
    """Calls until the result is true; bounded. Gives the result."""
    end = time.monotonic() + limit
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


def fetch(url, body=None, headers=None):
    """Status and body of a request; errors of HTTP are answers too."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read()


def answers(url):
    try:
        return fetch(url)[0] == 200
    except OSError:
        return False


class Program:
    """A running process; its output goes to a file that is shown when a test fails."""

    def __init__(self, name, folder, command):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NOVASCOPE_", "OTEL_"))}
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=environment
            )

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Novascope(Program):
    def __init__(self, binary, folder, config, flags=()):
        self.config = file = pathlib.Path(folder) / "prometheus.yml"
        file.write_text(config)
        super().__init__(
            "novascope",
            folder,
            [
                str(pathlib.Path(binary).resolve()),
                "--config.file", str(file),
                "--data", str(pathlib.Path(folder) / "data"),
                "--listen", "127.0.0.1:0",
                "--otlp.grpc-listen", "127.0.0.1:0",
                "--otlp.http-listen", "127.0.0.1:0",
                "--log.format", "json",
                *flags,
            ],
        )
        until("novascope is ready", lambda: '"ready' in self.log.read_text() or self.process.poll() is not None)
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        ports = {line["port"]: line["address"] for line in lines if "port" in line}
        self.main, self.otlp_grpc, self.otlp_http = (ports[name] for name in ("main", "otlp_grpc", "otlp_http"))
        self.url = f"http://{self.main}"

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        status, body = fetch(f"{self.url}{path}?{query}")
        assert status == 200, f"{path} {parameters}: {status} {body[:300]}"
        return json.loads(body)["data"]

    def query(self, text, **parameters):
        return self.get("/api/v1/query", query=text, **parameters)["result"]

    def value(self, text):
        """The only value of an instant query, or none."""
        result = self.query(text)
        assert len(result) <= 1, f"{text}: {result}"
        return float(result[0]["value"][1]) if result else None


def node_exporter(folder):
    port = free_port()
    program = Program("node_exporter", folder, ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"])
    until("node_exporter answers", lambda: answers(f"http://127.0.0.1:{port}/metrics"))
    return program, f"127.0.0.1:{port}"


def prometheus(folder, config, flags=()):
    port = free_port()
    file = pathlib.Path(folder) / "sender.yml"
    file.write_text(config)
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={pathlib.Path(folder) / 'sender-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    program = Program("prometheus", folder, command)
    until("prometheus is ready", lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
    return program, f"http://127.0.0.1:{port}"
