"""Mail over TLS and with each way to log in, from Debian's Alertmanager and from the built binary, to a mail server with
a certificate of its own."""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import pathlib
import socketserver
import ssl
import subprocess
import threading

from alerting import Debian, Ours, moment, visible
from programs import fetch, until

QUESTION = b"<1.2@mail.test>"
USER, PASSWORD, SECRET = "me", "hush", "keyed"


def certificate(folder):
    """A key and a certificate for 127.0.0.1 that nobody else trusts."""
    key, cert, config = folder / "key.pem", folder / "cert.pem", folder / "openssl.cnf"
    config.write_text(
        "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = mail.test\n"
        "[more]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n"
    )
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config", str(config)]
    command += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key


class Mailbox:
    """A mail server: how TLS begins (none, starttls, implicit) and which logins it offers. Keeps what it was told."""

    def __init__(self, folder, tls, logins):
        self.mails, self.failures = [], []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*(str(file) for file in certificate(folder)))
        mailbox = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    Talk(mailbox, self.request, tls, logins).run()
                except (OSError, ssl.SSLError) as error:
                    mailbox.failures.append(str(error))

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Talk:
    """One connection."""

    def __init__(self, mailbox, connection, tls, logins):
        self.mailbox, self.connection, self.tls, self.logins = mailbox, connection, tls, logins
        self.is_secure, self.login, self.envelope = False, None, []

    def secure(self):
        self.connection = self.mailbox.context.wrap_socket(self.connection, server_side=True)
        self.is_secure, self.file = True, self.connection.makefile("rwb")

    def say(self, text):
        self.file.write(text.encode() + b"\r\n")
        self.file.flush()

    def read(self):
        return self.file.readline().decode().strip()

    def ask(self, question):
        self.say("334 " + base64.b64encode(question).decode())
        return base64.b64decode(self.read())

    def run(self):
        self.file = self.connection.makefile("rwb")
        if self.tls == "implicit":
            self.secure()
        self.say("220 mail.test")
        while line := self.read():
            word, _, rest = line.partition(" ")
            if not self.answer(word.upper(), rest):
                return

    def answer(self, word, rest):
        if word in ("EHLO", "HELO"):
            offers = ["mail.test"]
            offers += ["STARTTLS"] if self.tls == "starttls" and not self.is_secure else []
            offers += [f"AUTH {self.logins}"] if self.logins and (self.is_secure or self.tls == "none") else []
            for one in offers[:-1]:
                self.say(f"250-{one}")
            self.say(f"250 {offers[-1]}")
        elif word == "STARTTLS":
            self.say("220 go on")
            self.secure()
        elif word == "AUTH":
            self.log_in(*rest.split(" "))
        elif word in ("MAIL", "RCPT"):
            self.envelope.append(rest.split("<")[1].split(">")[0])
            self.say("250 ok")
        elif word == "DATA":
            self.say("354 go on")
            data = b""
            while (part := self.file.readline()) not in (b".\r\n", b""):
                data += part[1:] if part.startswith(b"..") else part
            self.mailbox.mails.append((self.is_secure, self.login, self.envelope, data))
            self.say("250 taken")
        elif word == "QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("502 unknown")
        return True

    def log_in(self, mechanism, first=""):
        if mechanism == "PLAIN":
            identity, user, password = base64.b64decode(first).decode().split("\0")
            good = (user, password) == (USER, PASSWORD)
            self.login = f"PLAIN as {identity}"
        elif mechanism == "LOGIN":
            good = (self.ask(b"Username:"), self.ask(b"Password:")) == (USER.encode(), PASSWORD.encode())
            self.login = "LOGIN"
        else:
            digest = hmac.new(SECRET.encode(), QUESTION, hashlib.md5).hexdigest()
            good = self.ask(QUESTION).decode() == f"{USER} {digest}"
            self.login = "CRAM-MD5"
        self.say("235 welcome" if good else "535 wrong")


# Receiver, how TLS begins, logins that are offered, settings.
CASES = [
    ("trusted", "starttls", "PLAIN LOGIN", "tls_config: {ca_file: FOLDER/cert.pem}, auth_identity: someone"),
    ("careless", "starttls", "LOGIN PLAIN", "tls_config: {insecure_skip_verify: true}"),
    ("keyed", "starttls", "CRAM-MD5 PLAIN", "tls_config: {ca_file: FOLDER/cert.pem, server_name: 127.0.0.1}"),
    ("clear", "none", "CRAM-MD5", "require_tls: false"),
    ("refused", "none", "PLAIN", "require_tls: true"),
    ("untrusted", "starttls", "PLAIN", ""),
]
TOLD = ("trusted", "careless", "keyed", "clear")


class Sides:
    """Both programs, each with mailboxes of its own."""

    def __init__(self, binary, folder, programs):
        self.boxes = {}
        folder.mkdir()
        self.ours = Ours(binary, folder / "ours", lambda *_: self.configuration("ours", folder, programs))
        self.debian = Debian(folder / "debian", lambda *_: self.configuration("debian", folder, programs))
        programs += [self.ours.program, self.debian.program]

    def configuration(self, side, folder, _):
        cases = list(CASES)
        if side == "ours":
            # Newer than 0.25, which knows TLS from the first byte by port 465 alone.
            cases.append(("implicit", "implicit", "PLAIN", "force_implicit_tls: true, tls_config: {ca_file: FOLDER/cert.pem}"))
        routes, receivers = "", ""
        for name, tls, logins, settings in cases:
            home = folder / f"{side}-{name}"
            home.mkdir()
            box = self.boxes[side, name] = Mailbox(home, tls, logins)
            settings = settings.replace("FOLDER", str(home))
            routes += f"  - {{receiver: {name}, matchers: ['team=\"mail\"'], continue: true}}\n"
            receivers += f"- name: {name}\n  email_configs: [{{to: '{name}@example.org', smarthost: '{box.address}', {settings}}}]\n"
        return f"""
global: {{smtp_from: alerts@example.org, smtp_hello: nova.test, smtp_auth_username: {USER}, smtp_auth_password: {PASSWORD}, smtp_auth_secret: {SECRET}}}
route:
  receiver: nobody
  group_wait: 0s
  group_interval: 1s
  routes:
{routes}
receivers:
- name: nobody
{receivers}
"""


def same_mails(sides):
    alert = {"labels": {"alertname": "Mail", "team": "mail"}, "annotations": {"summary": "s"}, "startsAt": moment()}
    for side in (sides.debian, sides.ours):
        side.post([alert])
    both = ("ours", "debian")
    until("mails", lambda: all(sides.boxes[side, name].mails for side in both for name in TOLD), 60)
    for name in TOLD:
        seen = []
        for side in both:
            is_secure, login, envelope, data = sides.boxes[side, name].mails[0]
            message = email.message_from_bytes(data, policy=email.policy.default)
            page = visible(message.get_body(("html",)).get_content())
            seen.append((is_secure, login, envelope, message["Subject"], page.split("Sent by")[0]))
        assert seen[0] == seen[1], (name, seen)
    logins = [sides.boxes["ours", name].mails[0][:2] for name in TOLD]
    assert logins == [(True, "PLAIN as someone"), (True, "LOGIN"), (True, "CRAM-MD5"), (False, "CRAM-MD5")], logins
    until("TLS from the first byte", lambda: sides.boxes["ours", "implicit"].mails)
    assert sides.boxes["ours", "implicit"].mails[0][:2] == (True, "PLAIN as ")


def refusals(sides):
    """A server without TLS, and one that nobody knows, get no mail; the log of notifications says why."""
    until("a certificate refused", lambda: sides.boxes["ours", "untrusted"].failures)
    for side in ("ours", "debian"):
        assert not sides.boxes[side, "refused"].mails and not sides.boxes[side, "untrusted"].mails
    end = {"labels": {"alertname": "Mail", "team": "mail"}, "endsAt": moment()}
    sides.ours.post([end])
    for name, expected in (("refused", "does not advertise the STARTTLS"), ("untrusted", "certificate")):
        address = f"{sides.ours.url}/alerts/notifications?receiver={name}&failed=true"
        failed = until(f"what {name} failed with", lambda: json.loads(fetch(address)[1])["notifications"], 60)
        assert expected in failed[0]["error"], failed[0]


def cases(binary, folder, programs):
    sides = Sides(binary, pathlib.Path(folder) / "mails", programs)
    return [
        ("mail over TLS and each login, as alertmanager", lambda: same_mails(sides)),
        ("mail servers that are not trusted", lambda: refusals(sides)),
    ]
