"""Google's SDK, synchronous and (CLIENT_ASYNC=1) asynchronous: `genai.py MODEL...`."""

import os

import common
from google import genai
from google.genai import types


def text_of(chunk):
    parts = [part for candidate in chunk.candidates or [] for part in (candidate.content and candidate.content.parts) or []]
    return sum(len(part.text or "") for part in parts if not part.thought)


CONFIG = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))


def generate(client, model, stream):
    common.say_begin(model)
    if not stream:
        return text_of(client.models.generate_content(model=model, contents=common.PROMPT, config=CONFIG))
    chars = 0
    for chunk in client.models.generate_content_stream(model=model, contents=common.PROMPT, config=CONFIG):
        chars += text_of(chunk)
        if common.enough(chars):
            break
    return chars


async def generate_async(client, model, stream):
    common.say_begin(model)
    if not stream:
        return text_of(await client.aio.models.generate_content(model=model, contents=common.PROMPT, config=CONFIG))
    chars = 0
    async for chunk in await client.aio.models.generate_content_stream(model=model, contents=common.PROMPT, config=CONFIG):
        chars += text_of(chunk)
        if common.enough(chars):
            break
    return chars


def main():
    client = genai.Client(api_key=common.SECRET, http_options=types.HttpOptions(base_url=common.url("")))
    if os.environ.get("CLIENT_ASYNC") == "1":
        common.run_async(lambda model, stream: generate_async(client, model, stream))
    else:
        common.run_sync(lambda model, stream: generate(client, model, stream))


main()
