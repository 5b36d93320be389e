"""refuse.py NUMBER[,NUMBER...] ERRNO PROGRAM...: runs a program whose system calls of these numbers fail (seccomp), as a container's
profile would have it."""
import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, FILTER = 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def main():
    numbers = [int(n) for n in sys.argv[1].split(",")]
    code = [(LOAD, 0, 0, 0)]
    for number in numbers:
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | int(sys.argv[2]))]
    code.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    # Root keeps what it may: it needs no PR_SET_NO_NEW_PRIVS.
    if libc.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0) != 0:
        sys.exit(f"no seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[3], sys.argv[3:])


main()
