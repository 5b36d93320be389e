"""A program with streams and CPU of its own, over plain HTTP: `load.py HOST:PORT MODEL`. Told line by line on standard input, it
says the line again when it is so:

  open N       so many streams are open; the newest are closed first
  busy SHARE   of a core
"""

import json
import socket
import sys
import threading
import time

# Of a core, now.
busy = 0.0

# Work is done in pieces of a tenth of a second.
PERIOD = 0.1


def work():
    due = time.monotonic()
    while True:
        end = time.thread_time() + busy * PERIOD
        while time.thread_time() < end:
            pass
        due = max(due + PERIOD, time.monotonic() - PERIOD)
        time.sleep(max(due - time.monotonic(), 0))


def stream(address, model):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)))
    question = [{"role": "user", "content": "keep talking"}]
    body = json.dumps({"model": model, "stream": True, "messages": question})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    connection.recv(65536)
    return connection


def main():
    global busy
    threading.Thread(target=work, daemon=True).start()
    streams = []
    for line in sys.stdin:
        what, value = line.split()
        if what == "busy":
            busy = float(value)
        while what == "open" and len(streams) < int(value):
            streams.append(stream(*sys.argv[1:3]))
        while what == "open" and len(streams) > int(value):
            streams.pop().close()
        print(line, end="", flush=True)


main()
