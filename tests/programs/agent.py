"""An agent of the standard library alone, over plain HTTP: `agent.py HOST:PORT MODEL ACT...`, a call for each ACT, and between the
question and the answer (`late`: right after it) it does that:

  nothing    it waits
  program    runs a program, as one runs tests
  late       runs a program
  again      asks for something at the model's host on a connection of its own
  HOST:PORT  asks for something there
"""

import http.client
import json
import socket
import subprocess
import sys


def connect(address):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: there\r\n\r\n")


def act(what, address):
    if what == "program":
        subprocess.run(["sh", "-c", "true; true"], check=True)
    elif what == "again":
        connect(address)
    elif what not in ("nothing", "late"):
        connect(what)


def main():
    address, model = sys.argv[1:3]
    for n, what in enumerate(sys.argv[3:]):
        connection = http.client.HTTPConnection(address, timeout=60)
        question = [{"role": "user", "content": f"verify {n}"}]
        body = json.dumps({"model": model, "stream": True, "messages": question})
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        act(what, address)
        connection.getresponse().read()
        if what == "late":
            subprocess.run(["true"], check=True)
        connection.close()


main()
