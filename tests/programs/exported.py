"""Clients of TLS libraries whose functions look like OpenSSL's, by their own interface: `exported.py MODEL...`.

Environment and output as in common.py. CLIENT_TLS: `wolfssl` or `mbedtls`. CLIENT_KEEP=1: one connection for all calls. TLS is
not verified; what is tested is what passes its functions.
"""

import ctypes
import json
import os
import re
import socket
import sys
import urllib.parse

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
WHERE = urllib.parse.urlsplit(os.environ["BASE_URL"])


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def right(status, what):
    if status != 0:
        raise OSError("%s says %d" % (what, status))


def declare(library, prefix, functions):
    """`functions`: the result and the arguments of each, as letters: p a pointer, b bytes, i a number, z a size."""
    kinds = {"p": ctypes.c_void_p, "b": ctypes.c_char_p, "i": ctypes.c_int, "z": ctypes.c_size_t, "-": None}
    for name, form in functions.items():
        function = getattr(library, prefix + name)
        function.restype, function.argtypes = kinds[form[0]], [kinds[letter] for letter in form[1:]]


class WolfSsl:
    VERIFY_NONE, SUCCESS, WANT_READ, PEER_CLOSED = 0, 1, 2, 0

    def __init__(self):
        self.library = ctypes.CDLL("libwolfssl.so")
        # Of TLS 1.3 it refuses the provider's session tickets.
        declare(self.library, "wolf", {"TLSv1_2_client_method": "p"})
        functions = {"Init": "i", "CTX_new": "pp", "CTX_set_verify": "-pip", "new": "pp", "set_fd": "ipi", "connect": "ip"}
        functions.update({"write": "ipbi", "read": "ippi", "shutdown": "ip", "free": "-p", "get_error": "ipi"})
        declare(self.library, "wolfSSL_", functions)
        self.library.wolfSSL_Init()
        self.context = self.library.wolfSSL_CTX_new(self.library.wolfTLSv1_2_client_method())
        self.library.wolfSSL_CTX_set_verify(self.context, self.VERIFY_NONE, None)

    def open(self, plain):
        self.session = self.library.wolfSSL_new(self.context)
        self.library.wolfSSL_set_fd(self.session, plain.fileno())
        if self.library.wolfSSL_connect(self.session) != self.SUCCESS:
            raise OSError("wolfSSL_connect says %d" % self.library.wolfSSL_get_error(self.session, 0))

    def write(self, data):
        return self.library.wolfSSL_write(self.session, data, len(data))

    def read(self, room):
        while True:
            received = self.library.wolfSSL_read(self.session, room, len(room))
            # A session ticket came, which is no data.
            if received >= 0 or self.library.wolfSSL_get_error(self.session, received) != self.WANT_READ:
                return received

    def close(self):
        self.library.wolfSSL_shutdown(self.session)
        self.library.wolfSSL_free(self.session)


class MbedTls:
    CLIENT, STREAM, PRESET_DEFAULT, VERIFY_NONE = 0, 0, 0, 0
    PEER_CLOSED = -0x7880
    # Its structures are the program's, and their sizes are not told: none has as much.
    ROOM = 65536

    def __init__(self):
        self.library = ctypes.CDLL("libmbedtls.so")
        self.crypto = ctypes.CDLL("libmbedcrypto.so")
        declare(self.crypto, "mbedtls_", {"entropy_init": "-p", "ctr_drbg_init": "-p", "ctr_drbg_seed": "ippppz"})
        functions = {"config_init": "-p", "config_defaults": "ipiii", "conf_authmode": "-pi", "conf_rng": "-ppp"}
        functions.update({"init": "-p", "setup": "ipp", "set_hostname": "ipb", "set_bio": "-ppppp", "free": "-p"})
        functions.update({"handshake": "ip", "write": "ipbz", "read": "ippz", "close_notify": "ip"})
        declare(self.library, "mbedtls_ssl_", functions)
        self.entropy, self.random, self.settings, self.session = (
            ctypes.create_string_buffer(self.ROOM) for _ in range(4)
        )
        self.crypto.mbedtls_entropy_init(self.entropy)
        self.crypto.mbedtls_ctr_drbg_init(self.random)
        right(self.crypto.mbedtls_ctr_drbg_seed(self.random, self.crypto.mbedtls_entropy_func, self.entropy, None, 0), "seed")
        self.library.mbedtls_ssl_config_init(self.settings)
        defaults = self.CLIENT, self.STREAM, self.PRESET_DEFAULT
        right(self.library.mbedtls_ssl_config_defaults(self.settings, *defaults), "config_defaults")
        self.library.mbedtls_ssl_conf_authmode(self.settings, self.VERIFY_NONE)
        self.library.mbedtls_ssl_conf_rng(self.settings, self.crypto.mbedtls_ctr_drbg_random, self.random)

    def open(self, plain):
        self.fd = ctypes.c_int(plain.fileno())
        self.library.mbedtls_ssl_init(self.session)
        right(self.library.mbedtls_ssl_setup(self.session, self.settings), "setup")
        right(self.library.mbedtls_ssl_set_hostname(self.session, WHERE.hostname.encode()), "set_hostname")
        send, receive = self.library.mbedtls_net_send, self.library.mbedtls_net_recv
        self.library.mbedtls_ssl_set_bio(self.session, ctypes.byref(self.fd), send, receive, None)
        right(self.library.mbedtls_ssl_handshake(self.session), "handshake")

    def write(self, data):
        return self.library.mbedtls_ssl_write(self.session, data, len(data))

    def read(self, room):
        return self.library.mbedtls_ssl_read(self.session, room, len(room))

    def close(self):
        self.library.mbedtls_ssl_close_notify(self.session)
        self.library.mbedtls_ssl_free(self.session)


def request(model):
    api = os.environ.get("CLIENT_API", "chat")
    messages = [{"role": "user", "content": os.environ.get("CLIENT_PROMPT", "Tell me about rivers.")}]
    asked = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 1024}
    body = json.dumps({**asked, "input": "Tell me about rivers.", "messages": messages}).encode()
    secret = os.environ.get("CLIENT_SECRET", "sk-test-not-a-secret")
    lines = ["POST %s HTTP/1.1" % PATHS[api], "host: " + WHERE.netloc, "content-type: application/json"]
    lines += ["authorization: Bearer " + secret, "content-length: %d" % len(body), "", ""]
    return "\r\n".join(lines).encode(), body


def whole(heard):
    """Whether this is an answer from its first byte to its last one."""
    head, found, rest = heard.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(found) and (rest.endswith(b"0\r\n\r\n") if length is None else len(rest) >= int(length.group(1)))


def call(tls, model):
    """Asks for a model; whether the connection is still there."""
    for part in request(model):
        while part:
            written = tls.write(part)
            if written <= 0:
                raise OSError("a write returned %d" % written)
            part = part[written:]
    room, heard = ctypes.create_string_buffer(16384), b""
    while not whole(heard):
        received = tls.read(room)
        if received in (0, tls.PEER_CLOSED):
            return False
        if received < 0:
            raise OSError("a read returned %d" % received)
        heard += room.raw[:received]
    return True


def main():
    kind = {"wolfssl": WolfSsl, "mbedtls": MbedTls}[os.environ["CLIENT_TLS"]]
    tls, plain = kind(), None
    if os.environ.get("CLIENT_GO") == "1":
        say(ready=True, pid=os.getpid())
        sys.stdin.readline()
    for model in sys.argv[1:]:
        say(begin=model, pid=os.getpid())
        try:
            if plain is None:
                plain = socket.create_connection((WHERE.hostname, WHERE.port))
                tls.open(plain)
            open_still = call(tls, model)
            say(end=model, chars=None, error=None)
        except OSError as error:
            open_still = False
            say(end=model, chars=None, error=str(error))
        if not open_still or os.environ.get("CLIENT_KEEP") != "1":
            tls.close()
            plain.close()
            plain = None
    if plain is not None:
        tls.close()
        plain.close()


main()
