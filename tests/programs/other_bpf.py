"""Somebody else's programs on the root cgroup: `other_bpf.py CGROUP multi|exclusive`.

Attaches a program that lets everything pass to both packet hooks of CGROUP, the old way (without a link), as other tools do: `multi` beside
others, `exclusive` so that nobody else may. Prints one JSON line when they are there, and for each line on its standard input how many
programs each hook has. It takes its own away when its input ends.
"""

import ctypes
import json
import os
import struct
import sys

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH, BPF_PROG_QUERY = 5, 8, 9, 16
CGROUP_SKB, INGRESS, EGRESS = 8, 0, 1
ALLOW_MULTI = 2
SYS_BPF = 321  # x86-64

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def load():
    # r0 = 1; exit
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack("<IIQQ", CGROUP_SKB, 2, ctypes.addressof(code), ctypes.addressof(licence)))[0]


def count(cgroup, hook):
    ids = (ctypes.c_uint32 * 64)()
    query = struct.pack("<IIIIQI", cgroup, hook, 0, 0, ctypes.addressof(ids), 64) + bytes(36)
    return struct.unpack_from("<I", bpf(BPF_PROG_QUERY, query)[1], 24)[0]


def main():
    cgroup = os.open(sys.argv[1], os.O_RDONLY)
    program = load()
    flags = ALLOW_MULTI if sys.argv[2] == "multi" else 0
    for hook in (INGRESS, EGRESS):
        bpf(BPF_PROG_ATTACH, struct.pack("<IIII", cgroup, program, hook, flags))
    try:
        print(json.dumps({"ready": True}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"attached": [count(cgroup, INGRESS), count(cgroup, EGRESS)]}), flush=True)
    finally:
        for hook in (INGRESS, EGRESS):
            bpf(BPF_PROG_DETACH, struct.pack("<IIII", cgroup, program, hook, 0))


main()
