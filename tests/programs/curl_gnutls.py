"""libcurl built on GnuTLS (what git uses on Debian), by its own interface: `curl_gnutls.py MODEL...`.

Environment and output as in common.py, without `import ssl`: GnuTLS is the only TLS here. CLIENT_HTTP: `1.1` (default) or
`2`. All calls go over one handle, which keeps its connection. CLIENT_LIBCURL: another build of libcurl (that on NSS, which
verifies nothing here). CLIENT_OTHER_TLS=1: Python's own TLS is loaded too, and not used. CLIENT_STAY=1: it stays until
standard input ends.
"""

import ctypes
import json
import os
import sys

WRITEFUNCTION, URL, CAINFO, HTTPHEADER, COPYPOSTFIELDS, HTTP_VERSION = 20011, 10002, 10065, 10023, 10165, 84
SSL_VERIFYPEER = 64
HTTP_VERSIONS = {"1.1": 2, "2": 4}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}

curl = ctypes.CDLL(os.environ.get("CLIENT_LIBCURL", "libcurl-gnutls.so.4"))
curl.curl_easy_init.restype = ctypes.c_void_p
curl.curl_easy_setopt.argtypes = [ctypes.c_void_p, ctypes.c_int]
curl.curl_easy_perform.argtypes = curl.curl_easy_cleanup.argtypes = [ctypes.c_void_p]
curl.curl_slist_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
curl.curl_slist_append.restype = ctypes.c_void_p


@ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
def take(_data, size, count, _user):
    return size * count


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def body(model):
    prompt = os.environ.get("CLIENT_PROMPT", "Tell me about rivers.")
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 1024}
    return json.dumps({**asked, "input": prompt, "messages": messages}).encode()


def main():
    if os.environ.get("CLIENT_GO") == "1":
        say(ready=True, pid=os.getpid())
        sys.stdin.readline()
    if os.environ.get("CLIENT_OTHER_TLS") == "1":
        import ssl  # noqa: F401

    handle = curl.curl_easy_init()
    headers = None
    secret = os.environ.get("CLIENT_SECRET", "sk-test-not-a-secret")
    for header in ["content-type: application/json", "authorization: Bearer " + secret]:
        headers = curl.curl_slist_append(headers, header.encode())
    url = os.environ["BASE_URL"] + PATHS[os.environ.get("CLIENT_API", "chat")]
    curl.curl_easy_setopt(handle, WRITEFUNCTION, take)
    curl.curl_easy_setopt(handle, URL, ctypes.c_char_p(url.encode()))
    if "CLIENT_LIBCURL" in os.environ:
        curl.curl_easy_setopt(handle, SSL_VERIFYPEER, ctypes.c_long(0))
    else:
        curl.curl_easy_setopt(handle, CAINFO, ctypes.c_char_p(os.environ["SSL_CERT_FILE"].encode()))
    curl.curl_easy_setopt(handle, HTTPHEADER, ctypes.c_void_p(headers))
    curl.curl_easy_setopt(handle, HTTP_VERSION, ctypes.c_long(HTTP_VERSIONS[os.environ.get("CLIENT_HTTP", "1.1")]))
    for model in sys.argv[1:]:
        curl.curl_easy_setopt(handle, COPYPOSTFIELDS, ctypes.c_char_p(body(model)))
        say(begin=model, pid=os.getpid())
        status = curl.curl_easy_perform(handle)
        say(end=model, chars=None, error=None if status == 0 else "curl code %d" % status)
    if os.environ.get("CLIENT_STAY") == "1":
        sys.stdin.read()
    curl.curl_easy_cleanup(handle)


main()
