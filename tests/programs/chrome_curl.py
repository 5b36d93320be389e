"""curl with a browser's handshake, over a BoringSSL that exports nothing: `chrome_curl.py MODEL...`. CLIENT_API: `chat`, `responses`
or `messages`; CLIENT_HTTP: `1.1` or `2` (default). Nothing but BoringSSL is loaded for TLS.
"""

import json
import os
import threading

from curl_cffi import requests

import common

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
BODIES = {
    "chat": {"messages": common.messages(), "stream_options": {"include_usage": True}},
    "responses": {"input": common.PROMPT},
    "messages": {"messages": common.messages(), "max_tokens": 1024},
}
VERSIONS = {"1.1": "v1", "2": "v2tls"}
OWN = threading.local()


def session():
    if not hasattr(OWN, "session"):
        OWN.session = requests.Session(
            verify=os.environ["SSL_CERT_FILE"],
            impersonate="chrome",
            http_version=VERSIONS[os.environ.get("CLIENT_HTTP", "2")],
            timeout=60,
        )
    return OWN.session


def text(event):
    if common.API == "chat":
        return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", []))
    if common.API == "responses":
        return event["delta"] if event["type"] == "response.output_text.delta" else ""
    return event["delta"].get("text", "") if event["type"] == "content_block_delta" else ""


def call(model, stream):
    common.say_begin(model)
    body = {"model": model, "stream": stream, **BODIES[common.API]}
    headers = {"authorization": "Bearer " + common.SECRET}
    answer = session().post(common.url(PATHS[common.API]), json=body, headers=headers, stream=True)
    chars = 0
    try:
        for line in answer.iter_lines():
            if line.startswith(b"data: {"):
                chars += len(text(json.loads(line[6:])))
            if common.enough(chars):
                break
        answer.raise_for_status()
    finally:
        answer.close()
    return chars


common.run_sync(call)
