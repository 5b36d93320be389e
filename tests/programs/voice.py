"""A voice agent on the OpenAI SDK and `websockets`: `voice.py TEXT SOUND SINK_PORT ACT...`. A turn for each ACT: the model TEXT is asked, its
text is made speech by the model SOUND, and the speech is sent on over a WebSocket to the sink:

  prompt  as soon as the first of it is there
  late    two seconds later
  unsent  not at all

The socket is opened after the first turn, as one that waits for a call to be worth it. BASE_URL and SSL_CERT_FILE as in common.py.
"""

import os
import sys
import time

import openai
from websockets.sync.client import connect

LATE = 2.0
# Longer than sound pauses within a turn.
BETWEEN_TURNS = 0.5


def speak(client, text, sound):
    """The text's answer is read to its end; the speech of it is the caller's to read."""
    messages = [{"role": "user", "content": "Say it."}]
    with client.chat.completions.create(model=text, messages=messages, stream=True) as answer:
        said = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    return client.audio.speech.with_streaming_response.create(model=sound, input=said, voice="alloy")


def main():
    text, sound, port = sys.argv[1:4]
    client = openai.OpenAI(base_url=os.environ["BASE_URL"] + "/v1", api_key="sk-test-not-a-secret", max_retries=0)
    sink = None
    for act in sys.argv[4:]:
        with speak(client, text, sound) as speech:
            pieces = speech.iter_bytes()
            next(pieces)
            if act == "late":
                time.sleep(LATE)
            if act != "unsent":
                sink = sink or connect(f"ws://localhost:{port}/listen")
                # 40 ms of telephone sound; the provider's is the same over and over, and `websockets` compresses.
                sink.send(os.urandom(320))
            for _ in pieces:
                pass
        sink = sink or connect(f"ws://localhost:{port}/listen")
        time.sleep(BETWEEN_TURNS)
    sink.close()


main()
