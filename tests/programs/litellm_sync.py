"""LiteLLM as a library: `litellm_sync.py MODEL...`. CLIENT_API: `chat` (it uses the OpenAI SDK) or `messages` (its own HTTP)."""

import os

# Its price list would be fetched from a public host at import.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
import litellm

import common


def complete(model, stream):
    common.say_begin(model)
    name, base = ("anthropic/" + model, "") if common.API == "messages" else ("openai/" + model, "/v1")
    request = {"model": name, "messages": common.messages(), "api_base": common.url(base), "api_key": common.SECRET}
    if not stream:
        return len(litellm.completion(**request).choices[0].message.content or "")
    chars = 0
    for chunk in litellm.completion(stream=True, stream_options={"include_usage": True}, **request):
        for choice in chunk.choices:
            chars += len(choice.delta.content or "")
        if common.enough(chars):
            break
    return chars


# It prints advice to standard output, which is for results here.
litellm.suppress_debug_info = True
common.run_sync(complete)
