"""WebSockets over one HTTP/2 connection (RFC 8441): `http2_socket.py PORT CA MODEL...`, against `http2.mjs serve`.

The transport is hyper-h2 over Python's ssl, the messages are those of the `websockets` library with its permessage-deflate. Each model has
a stream of its own, all at once, and asks twice, one after the other; `cancel:COUNT` resets its stream after three words.
"""

import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

TURNS = 2
CREATE = json.dumps({"type": "response.create"}).encode()


class Model:
    """One socket."""

    def __init__(self, name, stream):
        self.name, self.stream = name, stream
        self.words, self.turns = [0], 0
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN)  # HTTP/2 has shaken hands for it
        self.protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]

    def ask(self):
        self.protocol.send_text(CREATE)

    def heard(self, text):
        """True: it wants no more."""
        event = json.loads(text)
        if event["type"] == "session.created":
            self.ask()
        elif event["type"] == "response.output_text.delta":
            self.words[-1] += 1
            return self.name.startswith("cancel") and self.words[-1] >= 3
        elif event["type"] == "response.done":
            self.turns += 1
            if self.turns == TURNS:
                self.protocol.send_close(1000)
            else:
                self.words.append(0)
                self.ask()
        return False


def main(port, ca, names):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    wire = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname="localhost")
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    http.initiate_connection()
    wire.sendall(http.data_to_send())
    models = {}

    def pump(model):
        for data in model.protocol.data_to_send():
            if data:
                http.send_data(model.stream, data)

    while True:
        bytes_read = wire.recv(65536)
        if not bytes_read:
            raise SystemExit("the server hung up")
        for event in http.receive_data(bytes_read):
            if isinstance(event, h2.events.RemoteSettingsChanged) and not models:
                assert http.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
                for name in names:
                    model = Model(name, http.get_next_available_stream_id())
                    models[model.stream] = model
                    http.send_headers(model.stream, [
                        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                        (":path", "/v1/realtime?model=" + name), (":authority", "localhost:" + port),
                        ("sec-websocket-version", "13"), ("sec-websocket-extensions", "permessage-deflate"),
                        ("authorization", "Bearer sk-test-not-a-secret"),
                    ])
            elif isinstance(event, h2.events.DataReceived):
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                model = models.get(event.stream_id)
                if model is None or model.turns < 0:
                    continue
                model.protocol.receive_data(event.data)
                for frame in model.protocol.events_received():
                    if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                        model.text = (b"" if frame.opcode is Opcode.TEXT else model.text) + frame.data
                        if frame.fin and model.heard(model.text):
                            http.reset_stream(model.stream, 8)
                            model.turns = -1
                            break
                if model.turns >= 0:
                    pump(model)
            elif isinstance(event, h2.events.StreamEnded):
                http.end_stream(event.stream_id)
                models[event.stream_id].turns = -1
        wire.sendall(http.data_to_send())
        if models and all(model.turns < 0 for model in models.values()):
            break
    for model in models.values():
        print(json.dumps({"end": model.name, "words": model.words}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
