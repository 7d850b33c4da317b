"""novascope's own spans, taken by OpenTelemetry's own definition of the receiver."""

import gzip
import http.server
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from programs import fetch, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class OverGrpc(service.TraceServiceServicer):
    client_type = "grpc"

    def __init__(self):
        self.requests = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        service.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):
        headers = dict(context.invocation_metadata())
        self.requests.append((headers.get("x-scope"), request))
        return messages.ExportTraceServiceResponse()

    def stop(self):
        self.server.stop(None).wait(5)


class OverHttp:
    client_type = "http"

    def __init__(self):
        self.requests = requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    requests.append((self.headers.get("x-scope"), messages.ExportTraceServiceRequest.FromString(body)))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()


def spans(receiver):
    """Every span received, with the name of its service and the header that came along."""
    for header, request in list(receiver.requests):
        for resource in request.resource_spans:
            attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield header, attributes.get("service.name"), span


def own_spans(server, receiver_class):
    """A reload turns traces on; a request of a traced caller is a span below the caller's, its query one below that."""
    receiver = receiver_class()
    before = server.config.read_text()
    section = (
        f"tracing: {{client_type: {receiver.client_type}, endpoint: '127.0.0.1:{receiver.port}', insecure: true, "
        "compression: gzip, headers: {x-scope: test}}\n"
    )
    try:
        server.config.write_text(before + section)
        status, body = fetch(f"{server.url}/-/reload", body=b"")
        assert status == 200, body
        caller = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        fetch(f"{server.url}/api/v1/query?query=vector(42)", headers=caller)
        fetch(f"{server.url}/api/v1/query?query=vector(43)")

        def found():
            ours = [entry for entry in spans(receiver) if entry[2].trace_id.hex() == TRACE]
            return ours if len(ours) >= 2 else None

        ours = until("both spans of the traced request", found, 10)
        by_id = {span.span_id.hex(): span for _, _, span in ours}
        request = next(span for span in by_id.values() if span.parent_span_id.hex() == CALLER)
        query = next(span for span in by_id.values() if span.parent_span_id == request.span_id)
        assert request.name == "GET /api/v1/query", request.name
        assert request.kind == request.SPAN_KIND_SERVER
        texts = {pair.key: pair.value.string_value for pair in query.attributes}
        assert texts.get("db.query.text") == "vector(42)", texts
        assert all(service == "novascope" and header == "test" for header, service, _ in ours), ours
        # The fraction is 0: who did not ask for a trace is in none.
        assert not any(span.trace_id.hex() != TRACE for _, _, span in spans(receiver))
    finally:
        server.config.write_text(before)
        fetch(f"{server.url}/-/reload", body=b"")
        receiver.stop()
