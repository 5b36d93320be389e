"""Many open streams in one process, read as cheaply as Python can: `many.py MODEL COUNT`.

Environment: BASE_URL, SSL_CERT_FILE (none: no TLS). MODEL may be several with commas between, taken in turn. Prints one JSON line when all streams have begun, and ends when they end, or when its
standard input does.
"""

import asyncio
import json
import os
import ssl
import sys
import threading
import urllib.parse


async def stream(where, context, model, begun):
    reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=context)
    body = json.dumps({"model": model, "stream": True, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    first = True
    try:
        while data := await reader.read(65536):
            if first:
                begun()
                first = False
            if b"[DONE]" in data:
                break
    except ConnectionError:
        pass  # that is what some are for
    writer.close()


async def main():
    models, count = sys.argv[1].split(","), int(sys.argv[2])
    where = urllib.parse.urlsplit(os.environ["BASE_URL"])
    authority = os.environ.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=authority) if authority else None
    waiting = count

    def begun():
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)

    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(stream(where, context, f"{models[number % len(models)]}#{number}", begun)))
        # Handshakes are expensive: begun one after the other, they do not time each other out.
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)


threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(main())
