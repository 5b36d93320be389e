"""ELF files that a parser should not believe. Most are sparse: gigabytes to who reads them, kilobytes on the disk.

`write(KIND, FOLDER)` writes the files of one kind and returns their paths.
"""

import os
import struct

MIB = 1 << 20
GIB = 1 << 30
TEXT, DYNSYM, STRTAB, RELA, DYNAMIC, NOTE = 1, 11, 3, 4, 6, 7


def header(shoff, shnum, shstrndx=0, phnum=1):
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0x1000, 64, shoff, 0, 64, 56, phnum, 64, shnum, shstrndx)


def load(flags=5, size=0x10000):
    return struct.pack("<IIQQQQQQ", 1, flags, 0, 0, 0, size, size, 0x1000)


def section(kind, offset=0, size=0, link=0, entry=0, name=0, info=0):
    return struct.pack("<IIQQQQIIQQ", name, kind, 2, 0, offset, size, link, info, 8, entry)


def symbols(count):
    """Defined functions of the name at offset 1 of the string table."""
    return struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x1000, 0x100) * count


def file(path, parts, size=0):
    """A file of parts at their offsets, sparse up to its size."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        for offset, data in parts:
            out.seek(offset)
            out.write(data)
        if size:
            out.truncate(max(size, out.tell()))
    return path


def sections(folder):
    """5 GiB of section headers, their number where the extended count stands."""
    size = 5 * GIB
    count = (size - 4096) // 64
    heads = section(0, size=count) + section(STRTAB, 0, 64)
    return [file(f"{folder}/libssl.so.3", [(0, header(4096, 0, 1) + load()), (4096, heads)], size)]


def symbol_table(folder):
    """2 GiB of symbols."""
    table = 2 * GIB - 2 * GIB % 24
    heads = section(0) + section(DYNSYM, 8192, table, 2, 24) + section(STRTAB, 4096, 64)
    return [file(f"{folder}/libssl.so.3", [(0, header(1024, 3, 2) + load()), (1024, heads), (4096, b"\0SSL_read\0")], 8192 + table)]


def strings(folder):
    """120 MB of the sought name, and 13 million symbols that have it."""
    count, names = 13_000_000, b"\0SSL_read" * (120_000_000 // 9)
    heads = section(0) + section(DYNSYM, 8192, 24 * count, 2, 24) + section(STRTAB, 8192 + 24 * count, len(names))
    parts = [(0, header(1024, 3, 2) + load()), (1024, heads), (8192 + 24 * count, names)]
    block = symbols(100_000)
    parts += [(8192 + len(block) * turn, block) for turn in range(count // 100_000)]
    return [file(f"{folder}/libssl.so.3", parts)]


def relocations(folder):
    """44 million relocations; the first of them are real."""
    count = 44_000_000
    heads = section(0) + section(DYNSYM, 8192, 48, 2, 24) + section(STRTAB, 4096, 64) + section(RELA, 65536, 24 * count, 1, 24)
    real = struct.pack("<QQq", 0x3000, 1 << 32 | 7, 0) * 1_000_000
    parts = [(0, header(1024, 4, 2) + load()), (1024, heads), (4096, b"\0SSL_read\0"), (8192, symbols(2)), (65536, real)]
    return [file(f"{folder}/libssl.so.3", parts, 65536 + 24 * count)]


def program_headers(folder):
    """65,534 program headers, and as many in the section that counts more of them."""
    many = load() * 65_534
    one = file(f"{folder}/one/libssl.so.3", [(0, header(0, 0, phnum=65_534) + many)])
    # PN_XNUM: the number stands in the first section.
    first = section(0, info=0xFFFFFFFF)
    two = file(f"{folder}/two/libssl.so.3", [(0, header(4096, 2, 1, phnum=0xFFFF)), (4096, first + section(STRTAB, 0, 64))], 4 * GIB)
    return [one, two]


def segments(folder):
    """A dynamic segment and notes of 3 GiB each, in a file without sections."""
    size = 3 * GIB
    paths = []
    for name, kind in [("dynamic", 2), ("note", 4), ("interpreter", 3)]:
        huge = struct.pack("<IIQQQQQQ", kind, 4, 8192, 8192, 8192, size, size, 8)
        parts = [(0, header(0, 0, phnum=2) + load(size=size + 8192) + huge)]
        # A dynamic section without an end, and a note longer than its file.
        parts.append((8192, struct.pack("<qQ", 1, 1) * 1_000 if kind == 2 else struct.pack("<III", 4, 0x7FFFFFFF, 3) + b"GNU\0"))
        paths.append(file(f"{folder}/{name}/libssl.so.3", parts, 8192 + size))
    return paths


def lies(folder):
    """Offsets and sizes beyond the file, beyond 2^64, and into themselves."""
    paths = []
    top = (1 << 64) - 1
    for number, (offset, size, entry) in enumerate(
        [(top, top, 24), (top - 8, 16, 24), (0, top, 0), (64, top >> 1, 1), (1 << 63, 1 << 63, 24), (0, 1 << 40, 24)]
    ):
        heads = section(0) + section(DYNSYM, offset, size, 2, entry) + section(STRTAB, offset, size) + section(RELA, offset, size, 1, entry)
        paths.append(file(f"{folder}/{number}/libssl.so.3", [(0, header(1024, 4, 2) + load()), (1024, heads)], 8192))
    for number, (shoff, shnum, shstrndx) in enumerate([(top, 9, 3), (top - 63, 0, 0xFFFF), (64, 0xFEFF, 0xFEFE), (0x40, 0, 0)]):
        paths.append(file(f"{folder}/head{number}/libssl.so.3", [(0, header(shoff, shnum, shstrndx) + load())], 8192))
    return paths


def endless(folder):
    """A terabyte of nothing behind a head, and one of code behind a real symbol."""
    size = 1 << 40
    names = b"\0SSL_read\0SSL_write\0SSL_do_handshake\0"
    huge = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x1000, size - 8192)
    heads = section(0) + section(DYNSYM, 8192, 24, 2, 24) + section(STRTAB, 4096, len(names))
    parts = [(0, header(1024, 3, 2) + load(size=size)), (1024, heads), (4096, names), (8192, huge)]
    return [
        file(f"{folder}/nothing/libssl.so.3", [(0, header(0, 0) + load(size=size))], size),
        file(f"{folder}/code/libssl.so.3", parts, size),
    ]


def many(folder):
    """Forty files that are each large, but not too large: 600,000 symbols of a name that is nearly the sought one."""
    count, names = 600_000, b"\0SSL_reax\0SSL_writx\0" * 100_000
    heads = section(0) + section(DYNSYM, 8192, 24 * count, 2, 24) + section(STRTAB, 8192 + 24 * count, len(names))
    block = symbols(100_000)
    parts = [(0, header(1024, 3, 2) + load()), (1024, heads), (8192 + 24 * count, names)]
    parts += [(8192 + len(block) * turn, block) for turn in range(count // 100_000)]
    return [file(f"{folder}/{number}/libssl.so.3", parts) for number in range(40)]


KINDS = {
    "sections": sections,
    "symbols": symbol_table,
    "strings": strings,
    "relocations": relocations,
    "program-headers": program_headers,
    "segments": segments,
    "lies": lies,
    "endless": endless,
    "many": many,
}


def write(kind, folder):
    return KINDS[kind](folder)


def plain(path):
    """A small file that is ELF, and nothing more."""
    return file(path, [(0, header(0, 0) + load())], 8192)


def with_huge_strings(program, to, length):
    """The program, working, with a string table and symbols of its own behind its end."""
    with open(program, "rb") as source:
        data = bytearray(source.read())
    at = (len(data) + 4095) & ~4095
    names = b"\0" + b"SSL_nothing_to_see_here\0" * (length // 24)
    table = symbols(1_000_000)
    where = at + len(names) + 8 & ~7
    heads = section(0) + section(2, where, len(table), 2, 24) + section(STRTAB, at, len(names))
    behind = where + len(table)
    struct.pack_into("<Q", data, 40, behind)
    struct.pack_into("<HHH", data, 58, 64, 3, 2)
    file(to, [(0, bytes(data)), (at, names), (where, table), (behind, heads)])
    os.chmod(to, 0o755)
