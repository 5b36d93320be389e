"""OpenAI SDK, synchronous: `openai_sync.py MODEL...`; see common.py for the environment."""

import openai

import common


def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = client.chat.completions.create(model=model, messages=common.messages())
        return len(whole.choices[0].message.content or "")
    chars = 0
    for chunk in client.chat.completions.create(
        model=model, messages=common.messages(), stream=True, stream_options={"include_usage": True}
    ):
        before = chars
        for choice in chunk.choices:
            chars += len(choice.delta.content or "")
        common.look_away(before, chars)
        if common.enough(chars):
            break
    return chars


def responses(client, model, stream):
    common.say_begin(model)
    if not stream:
        return len(client.responses.create(model=model, input=common.PROMPT).output_text)
    chars = 0
    for event in client.responses.create(model=model, input=common.PROMPT, stream=True):
        if event.type == "response.output_text.delta":
            chars += len(event.delta)
        if common.enough(chars):
            break
    return chars


def main():
    client = openai.OpenAI(base_url=common.url("/v1"), api_key=common.SECRET, max_retries=2)
    call = responses if common.API == "responses" else chat
    common.run_sync(lambda model, stream: call(client, model, stream))


main()
