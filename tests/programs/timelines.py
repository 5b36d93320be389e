"""A client that can be made to stop reading: `timelines.py sync|async MODEL...`, without any SDK.

BASE_URL, SSL_CERT_FILE as in common.py. After BLOCK_AFTER events it does nothing at all for BLOCK_MS milliseconds: `sync` between
two reads (the TLS object holds the socket), `async` with a blocked event loop (the TLS object holds memory, the loop the socket).
SERVER_NAME: what the ClientHello names, if not the address.
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
BLOCK = float(os.environ.get("BLOCK_MS", "0")) / 1000


def context():
    made = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    made.check_hostname = False
    return made


def request(model):
    body = json.dumps({"model": model, "stream": True, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


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
