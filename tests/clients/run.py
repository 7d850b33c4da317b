"""Real clients against the built binary: `run.py BINARY`. Prints a line a case and 'clients: N passed, N failed'."""

import sys
import tempfile
import traceback

import alerting
import delivery
import mails
import otel
import peers
import traces
import transfer
from programs import Novascope, node_exporter, prometheus


def main(binary):
    passed, failed = 0, 0
    programs = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            exporter, target = node_exporter(folder)
            programs.append(exporter)
            server = Novascope(binary, folder, peers.scrape_config(target))
            programs.append(server)
            sender, peer_url = prometheus(folder, peers.sender_config(target, server.url))
            programs.append(sender)
            cases = [
                (f"OpenTelemetry SDK over {name}", lambda n=name, e=transport: otel.sdk_over(server, n, e))
                for name, transport in otel.exporters(server).items()
            ]
            cases += [
                ("OTLP as JSON", lambda: otel.json_by_hand(server)),
                ("node_exporter scraped at 1 s", lambda: peers.node_exporter_scraped(server, target)),
                ("remote write from prometheus", lambda: peers.remote_write_from_prometheus(server, peer_url)),
                ("promtool query", lambda: peers.promtool(server)),
                ("own spans over gRPC", lambda: traces.own_spans(server, traces.OverGrpc)),
                ("own spans over HTTP", lambda: traces.own_spans(server, traces.OverHttp)),
                ("remote read by prometheus", lambda: transfer.remote_read_by_prometheus(server, folder)),
                ("exported blocks in promtool and prometheus", lambda: transfer.exported_blocks(server, binary, folder)),
                ("exported OpenMetrics in promtool", lambda: transfer.exported_openmetrics(server, binary, folder)),
                ("a folder of prometheus imported", lambda: transfer.imported_folder(server, binary, folder, target)),
            ]
            for module in (alerting, delivery, mails):
                cases += module.cases(binary, folder, programs)
            for name, case in cases:
                try:
                    case()
                    passed += 1
                    print(f"ok     {name}", flush=True)
                except Exception:
                    failed += 1
                    print(f"FAILED {name}", flush=True)
                    traceback.print_exc()
            code = server.stop()
            passed, failed = (passed + 1, failed) if code == 0 else (passed, failed + 1)
            print(f"{'ok    ' if code == 0 else 'FAILED'} novascope ends with 0 while clients send", flush=True)
        finally:
            for program in programs:
                program.stop()
                if failed:
                    print(f"-- {program.name}: last lines\n{program.log.read_text()[-3000:]}", flush=True)
    print(f"clients: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
