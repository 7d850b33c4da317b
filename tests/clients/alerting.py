"""Debian's Alertmanager and amtool beside the built binary: the same file and the same alerts, and what each receiver
got from either."""

import email
import email.policy
import html
import http.server
import json
import pathlib
import re
import socketserver
import subprocess
import threading
import time

from programs import Novascope, Program, answers, fetch, free_port, prometheus, until


# What the services answer, as far as anybody looks at it.
TAKEN = (
    b'{"ok": true, "errcode": 0, "access_token": "t", "success": true, '
    b'"result": {"message_id": 1, "date": 1, "chat": {"id": -7, "type": "group"}}}'
)
TAKEN_BY_SNS = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>m</MessageId>'
    b"</PublishResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishResponse>"
)


class Recorder:
    """Takes what is posted, by path, and answers what each service would."""

    def __init__(self):
        self.seen = {}
        # When each of them came, on the monotonic clock.
        self.when = {}
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def take(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                path = self.path.split("?")[0]
                recorder.when.setdefault(path, []).append(time.monotonic())
                recorder.seen.setdefault(path, []).append((self.headers, body))
                answer = TAKEN_BY_SNS if self.path.startswith("/sns") else TAKEN
                self.send_response(200)
                self.send_header("content-type", "application/json" if answer is TAKEN else "text/xml")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET = do_PUT = take

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Smtp:
    """A mail server that asks for a password and keeps what it gets."""

    def __init__(self):
        self.mails = []
        smtp = self

        class Handler(socketserver.StreamRequestHandler):
            def read(self):
                return self.rfile.readline().decode().strip()

            def handle(self):
                try:
                    self.talk()
                except ConnectionError:
                    pass  # whoever was talking was killed

            def talk(self):
                say = lambda text: self.wfile.write(text.encode() + b"\r\n")
                say("220 test")
                logged_in, envelope = False, []
                while line := self.read():
                    word = line.split(" ")[0].upper()
                    if word in ("EHLO", "HELO"):
                        say("250-test\r\n250 AUTH PLAIN LOGIN")
                    elif word == "AUTH":
                        logged_in = True
                        say("235 welcome")
                    elif word in ("MAIL", "RCPT"):
                        envelope.append(re.search("<(.*?)>", line).group(1))
                        say("250 ok")
                    elif word == "DATA":
                        say("354 go on")
                        data = b""
                        while (part := self.rfile.readline()) not in (b".\r\n", b""):
                            data += part[1:] if part.startswith(b"..") else part
                        smtp.mails.append((logged_in, envelope, data))
                        say("250 taken as 42")
                    elif word == "QUIT":
                        say("221 bye")
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def configuration(recorder, smtp):
    base = f"http://127.0.0.1:{recorder.port}"
    return f"""
global:
  smtp_smarthost: '127.0.0.1:{smtp.port}'
  smtp_from: 'alerts@example.org'
  smtp_auth_username: me
  smtp_auth_password: hush
  smtp_require_tls: false
  slack_api_url: '{base}/slack'
  opsgenie_api_url: '{base}/opsgenie'
  telegram_api_url: '{base}/telegram'
  victorops_api_url: '{base}/victorops/'
  wechat_api_url: '{base}/wechat/'
route:
  receiver: all
  group_by: [alertname]
  group_wait: 2s
  group_interval: 1s
  routes:
  - matchers: ['team="db"', 'severity=~"critical|page"']
    receiver: db
  - match: {{team: web}}
    receiver: web
    routes:
    - match_re: {{severity: 'warn.*'}}
      receiver: nobody
receivers:
- name: nobody
- name: db
- name: web
- name: all
  webhook_configs: [{{url: '{base}/webhook'}}]
  email_configs: [{{to: 'ops@example.org, second@example.org', send_resolved: true}}]
  slack_configs: [{{channel: '#ops', send_resolved: true, fields: [{{title: t, value: '{{{{ .Status }}}}'}}]}}]
  pagerduty_configs: [{{routing_key: key, url: '{base}/pagerduty', severity: critical}}]
  opsgenie_configs: [{{api_key: key, tags: 'a,b', priority: P2}}]
  telegram_configs: [{{bot_token: tok, chat_id: -7}}]
  discord_configs: [{{webhook_url: '{base}/discord'}}]
  victorops_configs: [{{api_key: key, routing_key: team}}]
  wechat_configs: [{{api_secret: s, corp_id: c, send_resolved: true}}]
  webex_configs: [{{room_id: room, api_url: '{base}/webex', http_config: {{authorization: {{credentials: c}}}}}}]
  sns_configs: [{{topic_arn: 'arn:aws:sns:us-east-2:1:t', api_url: '{base}/sns', sigv4: {{region: us-east-2, access_key: a, secret_key: b}}}}]
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: [severity="warning"]
  equal: [cluster]
time_intervals:
- name: offhours
  time_intervals: [{{weekdays: ['saturday', 'sunday'], times: [{{start_time: '00:00', end_time: '24:00'}}]}}]
"""


def alerts(start, end):
    labels = {"alertname": "Down", "instance": "a:1", "job": "vm", "cluster": "eu", "severity": "critical"}
    one = {
        "labels": labels,
        "annotations": {"summary": "It's <down> & out", "runbook_url": "http://runbook/x?a=1&b=2"},
        "startsAt": start,
        "generatorURL": "http://prom/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
    }
    if end:
        one["endsAt"] = end
    return [one, {**one, "labels": {**labels, "instance": "b:1"}}]


class Side:
    """One of the two, with receivers of its own."""

    def __init__(self, folder, text=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.recorder, self.smtp = Recorder(), Smtp()
        self.file = self.folder / "am.yml"
        self.file.write_text((text or configuration)(self.recorder, self.smtp))

    def post(self, body):
        status, answer = fetch(
            f"{self.url}/api/v2/alerts", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        assert status == 200, answer

    def counts(self):
        return {path: len(all) for path, all in self.recorder.seen.items()} | {"mail": len(self.smtp.mails)}


class Debian(Side):
    def __init__(self, folder, text=None):
        super().__init__(folder, text)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.program = Program(
            "alertmanager",
            self.folder,
            ["prometheus-alertmanager", f"--config.file={self.file}", f"--storage.path={self.folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--web.external-url=http://am"],
        )  # fmt: skip
        until("alertmanager answers", lambda: answers(f"{self.url}/-/ready"))


class Ours(Side):
    def __init__(self, binary, folder, text=None):
        super().__init__(folder, text)
        flags = ["--alertmanager.config-file", str(self.file), "--self", "off"]
        self.program = Novascope(binary, self.folder, "", flags)
        self.url = self.program.url


def amtool(side, *arguments):
    command = ["amtool", f"--alertmanager.url={side.url}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


def plain(text, side):
    """A text without what differs by design: addresses of the two and of their receivers."""
    text = text.replace(side.url, "URL").replace("http://am", "URL")
    return text.replace(f"127.0.0.1:{side.recorder.port}", "RECEIVER")


def bodies(side, path):
    found = []
    for _, body in side.recorder.seen[path]:
        try:
            body = json.dumps(json.loads(body), sort_keys=True)
        except ValueError:
            body = body.decode()
        found.append(plain(body, side))
    return found


def visible(text):
    """What a reader of HTML sees."""
    text = re.sub(r"<(style|title).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def mail(side, number):
    logged_in, envelope, data = side.smtp.mails[number]
    message = email.message_from_bytes(data, policy=email.policy.default)
    page = message.get_body(("html",)).get_content()
    links = sorted({html.unescape(link) for link in re.findall('href="(http[^"]*)"', page)})
    headers = {name: message[name] for name in ("From", "To", "Subject")}
    return logged_in, envelope, headers, plain(visible(page), side), [plain(link, side) for link in links]


def moment():
    """Now, as RFC 3339 with milliseconds."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"


def same_messages(ours, debian):
    """Every receiver gets the same from both, when alerts fire and when they end."""
    # Fresh alerts wait for `group_wait`. Older ones are told at once, and Alertmanager then sometimes tells of the first
    # of a request before it has seen the second.
    start = moment()
    for side in (debian, ours):
        side.post(alerts(start, None))
    expected = 11
    until("firing", lambda: all(len(side.counts()) >= expected for side in (ours, debian)))
    end = moment()
    for side in (debian, ours):
        side.post(alerts(start, end))
    twice = (
        "/webhook", "/slack", "/pagerduty", "/discord", "/webex", "/sns/", "/wechat/message/send", "mail",
        "/telegram/bottok/sendMessage", "/victorops/key/team",
    )  # fmt: skip
    # Opsgenie hears of the end under another path.
    is_closed = lambda side: any(path.endswith("/close") for path in side.counts())
    is_told = lambda side: is_closed(side) and all(side.counts().get(path, 0) >= 2 for path in twice)
    until("resolved", lambda: is_told(ours) and is_told(debian), 60)
    paths = sorted(debian.recorder.seen)
    assert paths == sorted(ours.recorder.seen), (paths, sorted(ours.recorder.seen))
    differences = []
    for path in paths:
        for number in (0, -1):
            mine, theirs = (bodies(side, path)[number] for side in (ours, debian))
            if path == "/webhook":
                mine, theirs = json.loads(mine), json.loads(theirs)
                # Newer than 0.25.
                for key in ("notification_reason", "routeLabels"):
                    mine.pop(key)
            if path != "/sns/" and mine != theirs:
                differences.append(f"{path} {number}\n  ours   {mine}\n  theirs {theirs}")
    for number in (0, -1):
        mine, theirs = mail(ours, number), mail(debian, number)
        if mine != theirs:
            differences.append(f"mail {number}\n  ours   {mine}\n  theirs {theirs}")
    assert not differences, "\n".join(differences)


def amtool_works(ours, debian):
    """amtool's commands do the same on both."""
    for side in (ours, debian):
        amtool(side, "alert", "add", "alertname=Cli", "team=db", "--annotation=summary=by hand")
        assert "Cli" in amtool(side, "alert", "query", "alertname=Cli")
        added = amtool(side, "silence", "add", "alertname=Cli", "--comment=why", "--author=me", "--duration=1h").strip()
        assert added in amtool(side, "silence", "query", "-q", "alertname=Cli")
        assert "Cli" not in amtool(side, "alert", "query", "-o", "simple", "alertname=Cli")
        assert "Cli" in amtool(side, "alert", "query", "--silenced", "alertname=Cli")
        updated = amtool(side, "silence", "update", added, "--duration=2h", "--comment=longer")
        assert "longer" in updated, updated
        exported = amtool(side, "silence", "query", "-o", "json", "alertname=Cli")
        file = side.folder / "silences.json"
        for one in (all := json.loads(exported)):
            one.pop("id")
        file.write_text(json.dumps(all))
        amtool(side, "silence", "import", str(file))
        for one in amtool(side, "silence", "query", "-q").split():
            amtool(side, "silence", "expire", one)
        assert amtool(side, "silence", "query", "-q").strip() == ""
    for labels in (["team=db", "severity=page"], ["team=web"], ["team=web", "severity=warning"], ["x=y"]):
        routes = [amtool(side, "config", "routes", "test", *labels) for side in (ours, debian)]
        assert routes[0] == routes[1], (labels, routes)
    shown = [amtool(side, "config", "routes", "show") for side in (ours, debian)]
    assert shown[0] == shown[1], shown
    original = json.loads(fetch(f"{ours.url}/api/v2/status")[1])["config"]["original"]
    assert "hush" not in original, original
    file = ours.folder / "original.yml"
    file.write_text(original)
    subprocess.run(["amtool", "check-config", str(file)], check=True, capture_output=True, timeout=20)
    assert "receiver: all" in amtool(ours, "config", "show")


def grafana_datasource(ours):
    """The two questions of Grafana's Alertmanager datasource, of the kind "prometheus"."""
    assert fetch(f"{ours.url}/alertmanager/api/v2/status")[0] == 404
    assert fetch(f"{ours.url}/api/v2/status")[0] == 200


def killed_in_a_burst(binary, folder):
    """Alerts that were taken are told after a kill, each at least once."""
    side = Ours(binary, folder)
    names = set()
    for number in range(200):
        name = f"Burst{number}"
        side.post([{"labels": {"alertname": name}, "annotations": {}}])
        names.add(name)
    side.program.process.kill()
    side.program.process.wait()
    flags = ["--alertmanager.config-file", str(side.file), "--self", "off"]
    again = Novascope(binary, side.folder, "", flags)
    told = lambda: {json.loads(body)["groupLabels"]["alertname"] for _, body in side.recorder.seen.get("/webhook", [])}
    try:
        until("every first notification", lambda: told() >= names)
    finally:
        again.stop()


RULES = """
groups:
- name: g
  interval: 1s
  rules:
  - {alert: Sent, expr: vector(1) > 0, labels: {via: NAME, replica: a}, annotations: {summary: s}}
"""


def listed(url, name):
    return json.loads(fetch(f"{url}/api/v2/alerts?filter=via%3D{name}")[1])


def sent_on(binary, folder, debian):
    """Alerts of our rules reach an Alertmanager that a prometheus.yml names."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES.replace("NAME", "ours"))
    address = debian.url.removeprefix("http://")
    config = f"""
rule_files: [rules.yml]
alerting:
  alert_relabel_configs: [{{action: labeldrop, regex: replica}}]
  alertmanagers:
  - static_configs: [{{targets: ['{address}', 'gone:1']}}]
    relabel_configs: [{{source_labels: [__address__], regex: 'gone:1', action: drop}}]
"""
    server = Novascope(binary, folder, config, ["--self", "off"])
    try:
        alert = until("an alert at alertmanager", lambda: listed(debian.url, "ours"))[0]
        assert alert["labels"] == {"alertname": "Sent", "via": "ours"}, alert
        places = server.get("/api/v1/alertmanagers")
        assert [one["url"] for one in places["activeAlertmanagers"]] == [f"{debian.url}/api/v2/alerts"], places
        assert [one["url"] for one in places["droppedAlertmanagers"]] == ["http://gone:1/api/v2/alerts"], places
    finally:
        server.stop()


def taken_from_prometheus(folder, ours):
    """Alerts of a Prometheus that names us as its Alertmanager."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES.replace("NAME", "theirs"))
    address = ours.url.removeprefix("http://")
    config = f"""
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}
"""
    # It drops alerts while it has not looked for its Alertmanagers, so it is to say them again soon.
    program, _ = prometheus(folder, config, ["--rules.alert.resend-delay=1s"])
    try:
        alert = until("an alert from prometheus", lambda: listed(ours.url, "theirs"))[0]
        assert alert["labels"] == {"alertname": "Sent", "via": "theirs", "replica": "a"}, alert
    finally:
        program.stop()


def cases(binary, folder, programs):
    """Names and functions of all cases; what they start goes into the list of programs."""
    folder = pathlib.Path(folder) / "alerting"
    folder.mkdir()
    ours, debian = Ours(binary, folder / "ours"), Debian(folder / "debian")
    programs += [ours.program, debian.program]
    return [
        ("the same messages as alertmanager", lambda: same_messages(ours, debian)),
        ("amtool", lambda: amtool_works(ours, debian)),
        ("Grafana's Alertmanager datasource", lambda: grafana_datasource(ours)),
        ("alerts sent on to alertmanager", lambda: sent_on(binary, folder / "on", debian)),
        ("alerts from prometheus", lambda: taken_from_prometheus(folder / "prometheus", ours)),
        ("alerts survive a kill in a burst", lambda: killed_in_a_burst(binary, folder / "burst")),
    ]
