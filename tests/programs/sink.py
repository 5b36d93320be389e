"""Who listens to a voice agent: a WebSocket server on 127.0.0.1 that takes what comes. Prints its port as a line and serves until its standard input ends."""

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def listen(connection):
    try:
        for _ in connection:
            pass
    except ConnectionClosed:
        pass


with serve(listen, "127.0.0.1", 0) as server:
    print(server.socket.getsockname()[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    server.shutdown()
