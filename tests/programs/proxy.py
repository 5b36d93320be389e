"""A proxy for clients that must go through one: HTTP's CONNECT and SOCKS5 (no password), on 127.0.0.1.

`proxy.py`: prints its port as a line and serves until its standard input ends. Names are not looked up: everything is at 127.0.0.1.
"""

import asyncio
import struct
import sys


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()  # what ends one side by force ends the other so


async def target(reader, writer):
    """The port that is asked for; answered when it is connected."""
    first = await reader.readexactly(1)
    if first == b"\x05":
        (ways,) = await reader.readexactly(1)
        await reader.readexactly(ways)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        length = (await reader.readexactly(1))[0] if kind == 3 else {1: 4, 4: 16}[kind]
        await reader.readexactly(length)
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        return port, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00"
    head = first + await reader.readuntil(b"\r\n\r\n")
    method, where, _ = head.split(b"\r\n")[0].split(b" ")
    assert method == b"CONNECT", head
    return int(where.rsplit(b":", 1)[1]), b"HTTP/1.1 200 Connection established\r\n\r\n"


async def serve(reader, writer):
    port, answer = await target(reader, writer)
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(answer)
    await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))
    far_writer.close()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
