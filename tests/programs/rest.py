"""APIs that no SDK here calls in this form, by httpx: `rest.py MODEL...`. CLIENT_API: `gemini-array` (a stream without `alt=sse`),
`completions`, `speech` (bytes), `speech-sse`.
"""

import json
import ssl

import httpx

import common

PATHS = {
    "gemini-array": "/v1beta/models/{}:streamGenerateContent",
    "completions": "/v1/completions",
    "speech": "/v1/audio/speech",
    "speech-sse": "/v1/audio/speech",
}
BODIES = {
    "gemini-array": {"contents": [{"role": "user", "parts": [{"text": common.PROMPT}]}]},
    "completions": {"prompt": common.PROMPT, "stream": common.STREAM, "stream_options": {"include_usage": True}},
    "speech": {"input": common.PROMPT, "voice": "alloy"},
    "speech-sse": {"input": common.PROMPT, "voice": "alloy", "stream_format": "sse"},
}
CLIENT = httpx.Client(verify=ssl.create_default_context(), timeout=60)


def texts(kind, body):
    if kind == "gemini-array":
        for chunk in json.loads(body):
            for candidate in chunk.get("candidates", []):
                for part in candidate["content"]["parts"]:
                    yield "" if part.get("thought") else part.get("text", "")
    elif kind == "completions":
        for line in body.decode().splitlines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    yield choice["text"]


def call(model, _stream):
    common.say_begin(model)
    kind = common.API
    body = BODIES[kind] if kind == "gemini-array" else {"model": model, **BODIES[kind]}
    headers = {"authorization": "Bearer " + common.SECRET}
    received = b""
    with CLIENT.stream("POST", common.url(PATHS[kind].format(model)), json=body, headers=headers) as answer:
        for piece in answer.iter_bytes():
            received += piece
        answer.raise_for_status()
    return sum(len(text) for text in texts(kind, received))


common.run_sync(call)
