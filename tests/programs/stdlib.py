"""A client without any SDK, for interpreters and libraries that no SDK fits: `stdlib.py MODEL...`.

Environment and output as in common.py. TLS is not loaded before CLIENT_GO's line: the library appears late. CLIENT_PAUSE:
seconds between the loading of TLS and the first call.
"""

import json
import os
import sys


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def call(model):
    import http.client
    import ssl
    import time
    import urllib.parse

    time.sleep(float(os.environ.get("CLIENT_PAUSE", "0")))
    say(begin=model, pid=os.getpid())
    where = urllib.parse.urlsplit(os.environ["BASE_URL"])
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    connection = http.client.HTTPSConnection(where.hostname, where.port, context=context)
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "messages": []}
    secret = os.environ.get("CLIENT_SECRET", "sk-test-not-a-secret")
    headers = {"content-type": "application/json", "authorization": "Bearer " + secret}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    chars = 0
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                chars += len(choice["delta"].get("content") or "")
    connection.close()
    return chars


def main():
    if os.environ.get("CLIENT_GO") == "1":
        say(ready=True, pid=os.getpid())
        sys.stdin.readline()
    for model in sys.argv[1:]:
        try:
            say(end=model, chars=call(model), error=None)
        except Exception as error:  # every failure is a result here
            say(end=model, chars=None, error=type(error).__name__)


main()
