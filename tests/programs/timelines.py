"""A client that can be made to stop reading: `timelines.py sync|async MODEL...`, without any SDK.

BASE_URL, SSL_CERT_FILE as in common.py. After BLOCK_AFTER events it does nothing at all for BLOCK_MS milliseconds: `sync` between
two reads (the TLS object holds the socket), `async` with a blocked event loop (the TLS object holds memory, the loop the socket).
SERVER_NAME: what the ClientHello names, if not the address. HOLD=1: `sync` keeps the connection after the answer, says so in a line, and
ends with its standard input.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import time
import urllib.parse

WHERE = urllib.parse.urlsplit(os.environ["BASE_URL"])
NAME = os.environ.get("SERVER_NAME", WHERE.hostname)
AFTER = int(os.environ.get("BLOCK_AFTER", "-1"))
HOLD = os.environ.get("HOLD") == "1"
BLOCK = float(os.environ.get("BLOCK_MS", "0")) / 1000


def context():
    made = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    made.check_hostname = False
    return made


def request(model):
    body = json.dumps({"model": model, "stream": True, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n"
    after = b"" if HOLD else b"Connection: close\r\n"
    return head.encode() + after + b"Content-Length: %d\r\n\r\n" % len(body) + body


def events(seen, piece):
    before, after = seen, seen + piece.count(b"data: ")
    if before <= AFTER < after:
        time.sleep(BLOCK)
    return after


def sync(model):
    with socket.create_connection((WHERE.hostname, WHERE.port)) as plain:
        with context().wrap_socket(plain, server_hostname=NAME) as tls:
            tls.sendall(request(model))
            seen = 0
            while piece := tls.recv(16384):
                seen = events(seen, piece)
                if HOLD and piece.endswith(b"0\r\n\r\n"):
                    print(json.dumps({"events": seen}), flush=True)
                    sys.stdin.read()
                    break
            return seen


async def loop(model):
    reader, writer = await asyncio.open_connection(WHERE.hostname, WHERE.port, ssl=context(), server_hostname=NAME)
    writer.write(request(model))
    await writer.drain()
    seen = 0
    while piece := await reader.read(16384):
        seen = events(seen, piece)
    writer.close()
    return seen


def main():
    how = sys.argv[1]
    for model in sys.argv[2:]:
        seen = sync(model) if how == "sync" else asyncio.run(loop(model))
        print(json.dumps({"end": model, "events": seen}), flush=True)


main()
