"""Groq's SDK: `groq_sync.py MODEL...`."""

import groq

import common


def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = client.chat.completions.create(model=model, messages=common.messages())
        return len(whole.choices[0].message.content or "")
    chars = 0
    for chunk in client.chat.completions.create(model=model, messages=common.messages(), stream=True):
        for choice in chunk.choices:
            chars += len(choice.delta.content or "")
        if common.enough(chars):
            break
    return chars


def main():
    client = groq.Groq(base_url=common.url(""), api_key=common.SECRET, max_retries=2)
    common.run_sync(lambda model, stream: chat(client, model, stream))


main()
