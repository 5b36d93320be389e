"""What the Python programs share. They are unmodified users of the SDKs: nothing here touches TLS or HTTP.

Environment:
  BASE_URL          https://localhost:PORT
  SSL_CERT_FILE     the provider's authority (read by OpenSSL and httpx themselves)
  CLIENT_API        `chat` (default) or `responses`, for the OpenAI programs
  CLIENT_STREAM     `1` (default) or `0`
  CLIENT_PARALLEL   calls at once, default 1 (threads, or tasks)
  CLIENT_CANCEL     stop reading and close after so many characters, default never
  CLIENT_LOOK_AWAY  seconds to read nothing once in each answer, default 0 (`openai_sync.py`)
  CLIENT_WARM       a model for one call before all others: SDKs import half of themselves on first use
  CLIENT_GO         `1`: wait for a line on standard input before the first call
  CLIENT_PROMPT, CLIENT_SECRET   what is sent as the prompt and the API key
Arguments: one model name a call. Output: one JSON line as each call begins, and one as it ends.
"""

import asyncio
import concurrent.futures
import faulthandler
import json
import os
import sys
import time

API = os.environ.get("CLIENT_API", "chat")
STREAM = os.environ.get("CLIENT_STREAM", "1") == "1"
PARALLEL = int(os.environ.get("CLIENT_PARALLEL", "1"))
CANCEL = int(os.environ.get("CLIENT_CANCEL", "0"))
LOOK_AWAY = float(os.environ.get("CLIENT_LOOK_AWAY", "0"))
PROMPT = os.environ.get("CLIENT_PROMPT", "Tell me about rivers.")
SECRET = os.environ.get("CLIENT_SECRET", "sk-test-not-a-secret")
WARM = [model for model in [os.environ.get("CLIENT_WARM")] if model]
MODELS = sys.argv[1:]

# A call that never ends must not hold a whole test run up; no scenario lasts longer than a minute.
faulthandler.dump_traceback_later(180, exit=True)


def url(path):
    return os.environ["BASE_URL"] + path


def messages():
    return [{"role": "user", "content": PROMPT}]


def enough(chars):
    return CANCEL and chars >= CANCEL


def look_away(before, after):
    # So early that more of the text comes meanwhile.
    if LOOK_AWAY and before < 32 <= after:
        time.sleep(LOOK_AWAY)


def say(**line):
    # One write a line: print() makes two, and threads would mix theirs.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def say_begin(model):
    say(begin=model, pid=os.getpid())


def wait_for_go():
    if os.environ.get("CLIENT_GO") == "1":
        say(ready=True, pid=os.getpid())
        sys.stdin.readline()


def say_end(model, began, chars=None, error=None):
    say(end=model, chars=chars, error=error, seconds=round(time.monotonic() - began, 3))


def run_sync(call):
    wait_for_go()

    def one(model):
        began = time.monotonic()
        try:
            say_end(model, began, chars=call(model, STREAM))
        except Exception as error:  # every failure is a result here
            say_end(model, began, error=type(error).__name__)

    for model in WARM:
        one(model)
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(one, MODELS))


def run_async(call):
    wait_for_go()

    async def one(model, slots):
        async with slots:
            began = time.monotonic()
            try:
                say_end(model, began, chars=await call(model, STREAM))
            except Exception as error:  # every failure is a result here
                say_end(model, began, error=type(error).__name__)

    async def all_calls():
        slots = asyncio.Semaphore(PARALLEL)
        for model in WARM:
            await one(model, slots)
        await asyncio.gather(*(one(model, slots) for model in MODELS))

    asyncio.run(all_calls())
