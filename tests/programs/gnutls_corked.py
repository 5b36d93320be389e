"""GnuTLS by its own interface, with requests that are corked: `gnutls_corked.py MODEL...`. What is sent while a session is
corked is put aside, and written out at once when it is uncorked, through the same public functions.

Environment and output as in common.py; TLS is not verified.
"""

import ctypes
import json
import os
import socket
import sys
import urllib.parse

CLIENT, CREDENTIALS_CERTIFICATE, SHUT_WR, WAIT = 2, 1, 1, 1
# Also after a session ticket, which is no data.
AGAIN = -28

gnutls = ctypes.CDLL("libgnutls.so.30")
for name in ["record_send", "record_recv"]:
    function = getattr(gnutls, "gnutls_" + name)
    function.restype, function.argtypes = ctypes.c_ssize_t, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
gnutls.gnutls_transport_set_int2.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
gnutls.gnutls_credentials_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
for name in ["handshake", "set_default_priority", "record_cork", "deinit"]:
    getattr(gnutls, "gnutls_" + name).argtypes = [ctypes.c_void_p]
for name in ["record_uncork", "bye"]:
    getattr(gnutls, "gnutls_" + name).argtypes = [ctypes.c_void_p, ctypes.c_int]


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def right(status):
    if status < 0:
        raise OSError("gnutls says %d" % status)
    return status


def call(model):
    where = urllib.parse.urlsplit(os.environ["BASE_URL"])
    body = json.dumps({"model": model, "stream": True, "stream_options": {"include_usage": True}, "messages": []}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\nconnection: close\r\n"
    head = (head % where.netloc + "authorization: Bearer sk-test-not-a-secret\r\ncontent-length: %d\r\n\r\n" % len(body)).encode()
    credentials, session = ctypes.c_void_p(), ctypes.c_void_p()
    right(gnutls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    right(gnutls.gnutls_init(ctypes.byref(session), CLIENT))
    right(gnutls.gnutls_set_default_priority(session))
    right(gnutls.gnutls_credentials_set(session, CREDENTIALS_CERTIFICATE, credentials))
    with socket.create_connection((where.hostname, where.port)) as plain:
        gnutls.gnutls_transport_set_int2(session, plain.fileno(), plain.fileno())
        right(gnutls.gnutls_handshake(session))
        gnutls.gnutls_record_cork(session)
        right(gnutls.gnutls_record_send(session, head, len(head)))
        right(gnutls.gnutls_record_send(session, body, len(body)))
        right(gnutls.gnutls_record_uncork(session, WAIT))
        buffer = ctypes.create_string_buffer(16384)
        while (received := gnutls.gnutls_record_recv(session, buffer, len(buffer))) > 0 or received == AGAIN:
            pass
        right(received)
        gnutls.gnutls_bye(session, SHUT_WR)
    gnutls.gnutls_deinit(session)


def main():
    for model in sys.argv[1:]:
        say(begin=model, pid=os.getpid())
        try:
            call(model)
            say(end=model, chars=None, error=None)
        except Exception as error:  # every failure is a result here
            say(end=model, chars=None, error=type(error).__name__)


main()
