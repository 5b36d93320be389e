"""A WebSocket client with permessage-deflate, as the library offers it by default: `websocket_client.py MODEL...`.

CLIENT_API: `realtime` (the model is in the URL, so each has a socket), `responses` (all turns on one socket: CLIENT_PARALLEL must
be 1), `listen` (Deepgram: sound goes up while words come down) or `transcription` (OpenAI: sound is committed). CLIENT_COMPRESSION: `deflate` (default), `no-takeover` (both windows forgotten after every message) or `none`.
"""

import asyncio
import base64
import json
import os
import ssl

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.asyncio.client import connect

import common

DONE = {"response.done", "response.completed", "response.incomplete", "response.failed", "error"}


def open_socket(path):
    kind = os.environ.get("CLIENT_COMPRESSION", "deflate")
    extensions = None
    if kind == "no-takeover":
        factory = ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
        extensions = [factory]
    url = common.url(path).replace("http", "ws", 1)
    trust = ssl.create_default_context() if url.startswith("wss") else None
    headers = {"Authorization": "Bearer " + common.SECRET}
    compression = "deflate" if kind == "deflate" else None
    return connect(url, ssl=trust, additional_headers=headers, compression=compression, extensions=extensions)


async def hear(socket):
    chars = 0
    async for message in socket:
        event = json.loads(message)
        if event["type"] == "response.output_text.delta":
            chars += len(event["delta"])
        if event["type"] == "error" or event.get("response", {}).get("status") == "failed":
            raise RuntimeError("the answer failed")
        if event["type"] in DONE or common.enough(chars):
            break
    return chars


async def realtime(model, _stream):
    common.say_begin(model)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": common.PROMPT}]}
    async with open_socket("/v1/realtime?model=" + model.replace("#", "%23")) as socket:
        await socket.send(json.dumps({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}))
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send(json.dumps({"type": "response.create"}))
        return await hear(socket)


SOCKETS = []


async def responses(model, _stream):
    if not SOCKETS:
        SOCKETS.append(await open_socket("/v1/responses"))
    common.say_begin(model)
    await SOCKETS[0].send(json.dumps({"type": "response.create", "model": model, "input": common.PROMPT}))
    return await hear(SOCKETS[0])


LOUD, SILENT = bytes(range(1, 161)) * 4, bytes(640)  # 20 ms each


async def listen(model, _stream):
    common.say_begin(model)
    async with open_socket("/v1/listen?encoding=linear16&interim_results=true&model=" + model.replace("#", "%23")) as socket:
        async def speak():
            for _ in range(5):
                await socket.send(LOUD)
            while True:
                await asyncio.sleep(0.02)
                await socket.send(SILENT)

        speaking, chars = asyncio.create_task(speak()), 0
        try:
            async for message in socket:
                event = json.loads(message)
                if event["type"] == "Error":
                    raise RuntimeError("the transcription failed")
                if event["type"] == "Results" and event["is_final"]:
                    chars += len(event["channel"]["alternatives"][0]["transcript"])
                if common.enough(chars):
                    return chars
                if event.get("speech_final"):
                    break
        finally:
            speaking.cancel()
        await socket.send(json.dumps({"type": "CloseStream"}))
        async for message in socket:
            pass
    return chars


async def transcription(model, _stream):
    common.say_begin(model)
    name = "conversation.item.input_audio_transcription."
    session = {"type": "transcription", "audio": {"input": {"transcription": {"model": model}, "turn_detection": None}}}
    async with open_socket("/v1/realtime?intent=transcription") as socket:
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        for _ in range(3):
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(LOUD).decode()}))
        await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        chars = 0
        async for message in socket:
            event = json.loads(message)
            if event["type"] == name + "delta":
                chars += len(event["delta"])
            if event["type"] == name + "failed":
                raise RuntimeError("the transcription failed")
            if event["type"] == name + "completed" or common.enough(chars):
                break
    return chars


CALLS = {"realtime": realtime, "responses": responses, "listen": listen, "transcription": transcription}
common.run_async(CALLS[common.API])
