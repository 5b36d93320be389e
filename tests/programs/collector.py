"""A collector of OTLP: both of its servers, by OpenTelemetry's own definitions. It says where they listen, then how many spans each export
brought; it ends with its standard input.
"""

import concurrent.futures
import gzip
import http.server
import json
import sys
import threading

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def take(request):
    spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    say(spans=len(spans))


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.body()
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kind, request = self.headers["content-type"], trace_service_pb2.ExportTraceServiceRequest()
        if kind == "application/json":
            json_format.Parse(body, request)
            answer = b"{}"
        else:
            request.ParseFromString(body)
            answer = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        take(request)
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass


class Grpc(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, _context):
        take(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def main():
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    calls = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Grpc(), calls)
    port = calls.add_insecure_port("127.0.0.1:0")
    calls.start()
    say(http=f"http://127.0.0.1:{web.server_port}", grpc=f"http://127.0.0.1:{port}")
    sys.stdin.read()


main()
