"""What a TLS write + read pair of 256 bytes costs in CPython: `pairs.py llm|ignored|tcp|segment|cpu SECONDS`.

`llm`      the connection looks like a model call, so its calls are captured
`ignored`  the connection is of another kind, so its calls pass after one look-up
`tcp`      no TLS at all: 256 bytes over a loopback TCP connection and back
`segment`  256 bytes each way over a loopback TCP connection that looks like a model call over plain HTTP: both segments are captured
`pingpong` the same on a connection of another kind
`cpu`      no system calls at all

Both TLS ends live in this process and talk through memory, so that nothing but TLS is timed. The answers that are read
are prepared outside the timed part. Time is this thread's CPU time, probes' work in the kernel included: what other
programs do to the clock on a busy host is not. Output: one JSON line; `pair_ns` is the median of the timed batches.
"""

import json
import os
import socket
import ssl
import sys
import time

SIZE = 256
BATCH = 1000
HOST = "localhost"


def main():
    mode, seconds = sys.argv[1], float(sys.argv[2])
    batch, calls = {"llm": tls_batch, "ignored": tls_batch, "tcp": tcp_batch, "segment": ping_pong, "pingpong": ping_pong, "cpu": cpu_batch}[mode](mode)
    print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
    if os.environ.get("CLIENT_GO") == "1":
        sys.stdin.readline()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(batch() / BATCH)
    times.sort()
    print(json.dumps({"pair_ns": times[len(times) // 2], "best_ns": times[0], "pairs": len(times) * BATCH, **calls}), flush=True)
    # The process stays until its standard input ends, so that its last calls are counted as a living one's.
    sys.stdin.read()


def tls_batch(mode):
    client, to_server, server, to_client = tls_pair()
    calls = {"reads": 0, "writes": 0}

    def send(side, data):
        calls["writes"] += 1
        side.write(data)

    def receive(side, size):
        calls["reads"] += 1
        return side.read(size)

    send(client, request_head(mode))
    receive(server, 4096)
    # Long enough for the verdict on this connection to come back.
    time.sleep(0.5)
    send(server, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    receive(client, 4096)
    piece, event = chunk(b"x" * (SIZE - 6)), chunk(delta())
    assert len(piece) == len(event) == SIZE, (len(piece), len(event))
    calls["head_reads"] = calls["reads"]

    def batch():
        for _ in range(BATCH):
            server.write(event)
        read, write = client.read, client.write
        began = time.thread_time_ns()
        for _ in range(BATCH):
            write(piece)
            read(SIZE)
        took = time.thread_time_ns() - began
        # The server never looks at the request's body.
        to_server.read()
        calls["reads"] += BATCH
        calls["writes"] += 2 * BATCH
        return took

    return batch, calls


def tls_pair():
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(os.environ["BENCH_CERT"], os.environ["BENCH_KEY"])
    client_context = ssl.create_default_context()
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client = client_context.wrap_bio(to_client, to_server, server_hostname=HOST)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return client, to_server, server, to_client


def request_head(mode):
    path = "POST /v1/chat/completions" if mode == "llm" else "POST /upload"
    head = f"{path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + chunk(b'{"model": "bench", "stream": true, "messages": [{"role": "user", "content": "')


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta():
    """An SSE event that with its chunk framing fills SIZE bytes."""
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    body["choices"] = [{"index": 0, "delta": {"content": "twelve chars"}, "finish_reason": None}]
    body["obfuscation"] = ""
    bare = len(chunk(b"data: %s\n\n" % json.dumps(body).encode()))
    body["obfuscation"] = "x" * (SIZE - bare)
    return b"data: %s\n\n" % json.dumps(body).encode()


def tcp_batch(_):
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    data = b"x" * SIZE

    def batch():
        began = time.thread_time_ns()
        for _ in range(BATCH):
            near.send(data)
            far.recv(SIZE)
        return time.thread_time_ns() - began

    return batch, {}


def ping_pong(mode):
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A connection of another kind says something that no client of HTTP begins with.
    near.sendall(request_head("llm") if mode == "segment" else b"\x00 of another kind")
    far.recv(4096)
    time.sleep(0.5)
    far.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    near.recv(4096)
    piece, event = chunk(b"x" * (SIZE - 6)), chunk(delta())

    def batch():
        began = time.thread_time_ns()
        for _ in range(BATCH):
            near.send(piece)
            far.recv(SIZE)
            far.send(event)
            near.recv(SIZE)
        return time.thread_time_ns() - began

    return batch, {}


def cpu_batch(_):
    def batch():
        began = time.thread_time_ns()
        total = 0
        for turn in range(BATCH * 20):
            total += turn & 7
        return time.thread_time_ns() - began

    return batch, {}


main()
