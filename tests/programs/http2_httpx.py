"""Many calls at once on one HTTP/2 connection of httpx: `http2_httpx.py MODEL...`; CLIENT_WARM's call opens it."""

import json
import os
import ssl

import httpx

import common

CLIENT = httpx.AsyncClient(http2=True, verify=ssl.create_default_context(), timeout=60)


async def chat(model, stream):
    common.say_begin(model)
    body = {"model": model, "stream": stream, "stream_options": {"include_usage": True}, "messages": common.messages()}
    headers = {"authorization": "Bearer " + common.SECRET}
    chars = 0
    async with CLIENT.stream("POST", common.url("/v1/chat/completions"), json=body, headers=headers) as answer:
        if answer.http_version != "HTTP/2":
            raise RuntimeError(answer.http_version)
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:]).get("choices", []):
                    chars += len(choice["delta"].get("content") or "")
            if common.enough(chars):
                break
    return chars


common.run_async(chat)
