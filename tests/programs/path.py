"""Two hosts and the path between them: network namespaces joined by a pair of tunnel devices, whose packets pass through here.

`path.py NAME --delay MS --loss SHARE [--seed N] [--reorder SHARE] [--dead EVERY,FOR]`: makes the namespaces NAME-a (10.99.0.1, fd99::1) and NAME-b
(10.99.0.2, fd99::2), prints one JSON line when they are there, and forwards until its standard input ends; then both go, and
a last line tells how many packets passed and were dropped. Every packet waits DELAY milliseconds; of those with payload a
SHARE is dropped, or waits a second DELAY. EVERY milliseconds all payload from NAME-b is dropped FOR milliseconds: the path is dead. Why not netem: not every kernel has it.
"""

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000


def tunnel(namespace, addresses):
    """A tunnel device inside a namespace: opened here, moved there."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = namespace[-13:].replace("-", "")
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    ip("link", "set", name, "netns", namespace)
    for address in addresses:
        ip("-n", namespace, "address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("-n", namespace, "link", "set", name, "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    return fd


def ip(*args):
    subprocess.run(["ip", *args], check=True, stdout=subprocess.DEVNULL)


def payload(packet):
    """Bytes behind the TCP head; 0 for anything else."""
    if packet[0] >> 4 == 4 and packet[9] == 6:
        head = (packet[0] & 15) * 4
    elif packet[0] >> 4 == 6 and packet[6] == 6:
        head = 40
    else:
        return 0
    return len(packet) - head - (packet[head + 12] >> 4) * 4


def dead(options):
    every, length = options.dead
    return every > 0 and time.monotonic() * 1000 % every < length


def forward(ends, options):
    chance = random.Random(options.seed)
    waiting, count, passed, dropped = [], 0, 0, 0
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    watched = [sys.stdin.fileno(), *ends]
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select(watched, [], [], pause)
        if watched[0] in ready and not os.read(watched[0], 4096):
            return {"passed": passed, "dropped": dropped}
        for fd in ready:
            if fd == watched[0]:
                continue
            packet = os.read(fd, 65536)
            wait = options.delay / 1000
            if payload(packet) > 0:
                if fd == ends[1] and dead(options):
                    dropped += 1
                    continue
                if chance.random() < options.loss:
                    dropped += 1
                    continue
                if chance.random() < options.reorder:
                    wait *= 2
            count += 1
            heapq.heappush(waiting, (time.monotonic() + wait, count, other[fd], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(waiting)
            passed += 1
            try:
                os.write(fd, packet)
            except OSError:
                pass  # the other end is going


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--reorder", type=float, default=0.0)
    parser.add_argument("--dead", type=lambda text: [float(n) for n in text.split(",")], default=[0.0, 0.0])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Whoever started us may be killed: then the namespaces must go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    names = [options.name + "-a", options.name + "-b"]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ends = [
            tunnel(names[0], ["10.99.0.1/24", "fd99::1/64"]),
            tunnel(names[1], ["10.99.0.2/24", "fd99::2/64"]),
        ]
        print(json.dumps({"ready": True, "namespaces": names}), flush=True)
        print(json.dumps(forward(ends, options)), flush=True)
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


main()
