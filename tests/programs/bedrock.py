"""boto3 on Bedrock: `bedrock.py MODEL...`. CLIENT_API: `converse`, or `invoke` with Anthropic's bodies."""

import json

import boto3
from botocore.config import Config

import common


def converse(client, model, stream):
    common.say_begin(model)
    request = {"modelId": model, "messages": [{"role": "user", "content": [{"text": common.PROMPT}]}]}
    if not stream:
        whole = client.converse(**request)
        return sum(len(block.get("text", "")) for block in whole["output"]["message"]["content"])
    chars = 0
    for event in client.converse_stream(**request)["stream"]:
        chars += len(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
        if common.enough(chars):
            break
    return chars


def invoke(client, model, stream):
    common.say_begin(model)
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1024, "messages": common.messages()}
    request = {"modelId": model, "body": json.dumps(body)}
    if not stream:
        whole = json.loads(client.invoke_model(**request)["body"].read())
        return sum(len(block["text"]) for block in whole["content"] if block["type"] == "text")
    chars = 0
    for event in client.invoke_model_with_response_stream(**request)["body"]:
        chunk = json.loads(event["chunk"]["bytes"])
        if chunk["type"] == "content_block_delta" and chunk["delta"]["type"] == "text_delta":
            chars += len(chunk["delta"]["text"])
        if common.enough(chars):
            break
    return chars


def main():
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=common.url(""),
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=common.SECRET,
        config=Config(max_pool_connections=max(10, common.PARALLEL)),
    )
    call = invoke if common.API == "invoke" else converse
    common.run_sync(lambda model, stream: call(client, model, stream))


main()
