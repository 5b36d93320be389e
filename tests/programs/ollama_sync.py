"""Ollama's client: `ollama_sync.py MODEL...`. CLIENT_API: `ollama-chat` or `ollama-generate`."""

import ollama

import common


def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        return len(client.chat(model=model, messages=common.messages()).message.content or "")
    chars = 0
    for part in client.chat(model=model, messages=common.messages(), stream=True):
        chars += len(part.message.content or "")
        if common.enough(chars):
            break
    return chars


def generate(client, model, stream):
    common.say_begin(model)
    if not stream:
        return len(client.generate(model=model, prompt=common.PROMPT).response)
    chars = 0
    for part in client.generate(model=model, prompt=common.PROMPT, stream=True):
        chars += len(part.response)
        if common.enough(chars):
            break
    return chars


def main():
    client = ollama.Client(host=common.url(""))
    call = generate if common.API == "ollama-generate" else chat
    common.run_sync(lambda model, stream: call(client, model, stream))


main()
