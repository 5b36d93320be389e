"""What an unprivileged user can do to a daemon that reads the files he maps: `strangers.py TRICK FOLDER [ARGUMENT...]`.

It becomes nobody first (but for `fuse`), works in FOLDER, says `{"ready": true, ...}` once the trick is under way, and keeps it up until
its input ends. Tricks:
  overlay FOLDER LIBRARY    a user namespace with overlay mounts over the library's folder, the library mapped through each
  lease FOLDER LIBRARY      copies with a write lease each, mapped
  fifo FOLDER LIBRARY       a copy and a FIFO that change places all the time, mapped whenever it is the copy
  shrink FOLDER LIBRARY     a copy that shrinks and grows while it is read, mapped all the time
  elf FOLDER KIND           a hostile ELF file (see hostile_elf.py), mapped and touched all the time
  spend FOLDER PROGRAM      copies of a program with a long table of symbols, one after the other, each mapped once
  disguise FOLDER LIBRARY   an overlay whose upper file says (but not to the kernel) that its data are the library's; it has other functions
  swap FOLDER               every library that appears beside FOLDER mapped, and something else mapped over it at once, all the time
  copies FOLDER LIBRARY N   N copies, each mapped once and deleted
  hello FOLDER N            N programs with a huge string table that have each sent a ClientHello
  chroot FOLDER PATH        short-lived programs that map PATH in a root of their own, where it is another file
  crowd FOLDER N            N TLS objects that are born and do nothing
  go FOLDER PROGRAM N       the same of the Go client, each with a read that waits
  fuse FOLDER LIBRARY       root's own: a file system in user space that answers the program that maps, and nobody else
"""

import ctypes
import encodings.idna  # noqa: F401 (nobody may not be able to load it later)
import fcntl
import glob
import json
import mmap
import os
import select
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time

import hostile_elf

NOBODY = 65534
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REC, MS_PRIVATE = 1, 0x4000, 0x40000
SYS_RENAMEAT2, AT_FDCWD, RENAME_EXCHANGE = 316, -100, 2


def checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # So that its files in /proc are its own, as those of any program that nobody starts.
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def map_executable(path_or_fd, length=4096):
    fd = path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return mmap.mmap(fd, length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    except ValueError:
        return None  # Shorter than that just now.
    finally:
        if fd != path_or_fd:
            os.close(fd)


def copy(library, to):
    os.makedirs(os.path.dirname(to), exist_ok=True)
    with open(library, "rb") as source, open(to, "wb") as target:
        target.write(source.read())
    return to


def ready(**more):
    print(json.dumps({"ready": True, "pid": os.getpid(), **more}), flush=True)


def told_to_end(seconds):
    """Waits so long for the end of the input."""
    if not select.select([0], [], [], seconds)[0]:
        return False
    return os.read(0, 4096) == b""


def until_told(step, pause):
    while not told_to_end(pause):
        step()


def fork(work):
    """A child that works until this program ends."""
    child = os.fork()
    if child == 0:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            work()
        except BaseException as error:  # told, for a trick that does not work tests nothing
            print(f"{sys.argv[1]}: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)
    return child


def own_user_namespace(flags):
    uid, gid = os.getuid(), os.getgid()
    checked(LIBC.unshare(CLONE_NEWUSER | flags), "unshare")
    for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
        with open("/proc/self/" + name, "w") as file:
            file.write(text)


def overlay(folder, library):
    own_user_namespace(CLONE_NEWNS)
    held = []
    for number in range(3):
        empty, at = f"{folder}/empty{number}", f"{folder}/merged{number}"
        os.makedirs(empty)
        os.makedirs(at)
        options = f"lowerdir={empty}:{os.path.dirname(library)}"
        checked(LIBC.mount(b"overlay", at.encode(), b"overlay", MS_RDONLY, options.encode()), "mount")
        held.append(map_executable(f"{at}/{os.path.basename(library)}"))
    ready(mounts=len(held))
    until_told(lambda: map_executable(f"{folder}/merged0/{os.path.basename(library)}").close(), 0.1)


def lease(folder, library):
    # Told that it should give its lease up, it does not.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    files = []
    for number in range(8):
        path = copy(library, f"{folder}/lease{number}/{os.path.basename(library)}")
        fd = os.open(path, os.O_RDWR)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        files.append(fd)
    held = [map_executable(files[0])]
    ready(leases=len(files))
    rest = iter(files[1:])

    def another():
        fd = next(rest, None)
        held.append(map_executable(fd if fd is not None else files[0]))

    until_told(another, 0.3)


def fifo(folder, library):
    regular, pipe = copy(library, f"{folder}/libssl.so.3"), f"{folder}/pipe"
    os.mkfifo(pipe)

    def exchange():
        while True:
            LIBC.syscall(SYS_RENAMEAT2, AT_FDCWD, regular.encode(), AT_FDCWD, pipe.encode(), RENAME_EXCHANGE)

    child = fork(exchange)
    ready()

    def map_it():
        for _ in range(50):
            mapped = map_executable(regular)
            if mapped:
                mapped.close()
        # Another mtime and inode number from time to time, so that it is looked at again.
        fresh = copy(library, f"{folder}/fresh")
        os.utime(fresh, (0, time.time()))
        os.replace(fresh, regular)

    until_told(map_it, 0.005)
    os.kill(child, signal.SIGKILL)


def shrink(folder, library):
    path = copy(library, f"{folder}/libssl.so.3")
    with open(library, "rb") as file:
        whole = file.read()

    def breathe():
        fd = os.open(path, os.O_RDWR)
        while True:
            for length in (100, 4096, len(whole) // 2, 0):
                os.ftruncate(fd, length)
                os.pwrite(fd, whole[: length + 4096], 0)
            os.pwrite(fd, whole, 0)

    child = fork(breathe)
    ready()

    def map_it():
        for number in range(20):
            mapped = map_executable(path)
            if mapped:
                mapped.close()
            os.utime(path, (0, time.time() + number))

    until_told(map_it, 0.01)
    os.kill(child, signal.SIGKILL)


def elf(folder, kind):
    paths = hostile_elf.write(kind, folder)
    held = [map_executable(path) for path in paths]
    ready(bytes=[os.stat(path).st_size for path in paths], held=len(held))

    def again():
        for path in paths:
            os.utime(path)
            map_executable(path).close()

    until_told(again, 0.2)


def spend(folder, program):
    ready()
    size = os.path.getsize(program)

    def another():
        # Each a new file, for the price of a copy in memory.
        fd = os.memfd_create("ssl")
        with open(program, "rb") as file:
            sent = 0
            while sent < size:
                sent += os.sendfile(fd, file.fileno(), sent, size - sent)
        mapped = map_executable(fd)
        os.close(fd)
        time.sleep(0.005)
        mapped.close()

    until_told(another, 0)


def with_functions_swapped(library, to):
    """A copy whose SSL_read stands where SSL_write was, and the other way round, and that has other code everywhere."""
    with open(library, "rb") as file:
        data = bytearray(file.read())
    heads, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, heads + size * i) for i in range(count)]
    table = next(section for section in sections if section[1] == 11)
    names = sections[table[6]][4]
    found = {}
    for at in range(table[4], table[4] + table[5], 24):
        name = names + struct.unpack_from("<I", data, at)[0]
        found[bytes(data[name : data.index(0, name)])] = at + 8
    for one, other in ((b"SSL_read", b"SSL_write"), (b"SSL_read_ex", b"SSL_write_ex")):
        one, other = found[one], found[other]
        data[one : one + 16], data[other : other + 16] = data[other : other + 16], data[one : one + 16]
    for section in sections:
        if section[1] == 1 and section[2] & 4:
            data[section[4] : section[4] + section[5]] = b"\x90" * section[5]
    os.makedirs(os.path.dirname(to), exist_ok=True)
    with open(to, "wb") as file:
        file.write(data)


def disguise(folder, library):
    own = f"{folder}/own/{os.path.basename(library)}"
    with_functions_swapped(library, own)
    os.setxattr(own, "user.overlay.metacopy", b"")
    own_user_namespace(CLONE_NEWNS)
    os.makedirs(f"{folder}/merged")
    options = f"lowerdir={folder}/own:{os.path.dirname(library)}"
    checked(LIBC.mount(b"overlay", f"{folder}/merged".encode(), b"overlay", MS_RDONLY, options.encode()), "mount")
    held = map_executable(f"{folder}/merged/{os.path.basename(library)}")
    ready(held=1)
    until_told(lambda: None, 0.1)
    held.close()


def swap(folder):
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    fixed, code = mmap.MAP_PRIVATE | 0x10, mmap.PROT_READ | mmap.PROT_EXEC
    place = LIBC.mmap(None, 4096, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    plain = os.open("/bin/true", os.O_RDONLY)
    known = {}
    ready()

    def once():
        for path in glob.glob(f"{os.path.dirname(folder)}/*fresh*/libssl*"):
            if path not in known:
                known[path] = os.open(path, os.O_RDONLY)
        for fd in list(known.values())[-2:]:
            LIBC.mmap(place, 4096, code, fixed, fd, 0)
            LIBC.mmap(place, 4096, code, fixed, plain, 0)

    until_told(once, 0.001)


def copies(folder, library, count):
    ready()
    for number in range(int(count)):
        path = copy(library, f"{folder}/copy{number}/{os.path.basename(library)}")
        mapped = map_executable(path)
        if told_to_end(0.01):
            return
        mapped.close()
        os.remove(path)
    until_told(lambda: None, 1)


def client_hello():
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    half = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="api.openai.com")
    try:
        half.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def hello(folder, count):
    program = f"{folder}/tool"
    hostile_elf.with_huge_strings("/bin/bash", program, 60 << 20)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    port = listener.getsockname()[1]
    words = "".join(f"\\x{byte:02x}" for byte in client_hello())
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{words}' >&3; read -r _ <&3"
    programs = [subprocess.Popen([program, "-c", script], stdin=subprocess.DEVNULL) for _ in range(int(count))]
    peers = []
    for _ in programs:
        peer, _ = listener.accept()
        peer.recv(4096)
        peers.append(peer)
    ready(programs=len(programs))
    until_told(lambda: None, 1)
    for program in programs:
        program.kill()
        program.wait()


def chroot(folder, path):
    jail = f"{folder}/jail"
    os.makedirs(jail + os.path.dirname(path))
    hostile_elf.plain(jail + path)

    def once():
        own_user_namespace(0)
        os.chroot(jail)
        os.chdir("/")
        map_executable(path)
        # Ends at once: its own root is gone when the daemon looks.

    ready()
    until_told(lambda: os.waitpid(fork(once), 0), 0.05)


class Fuse:
    """A file system of one file, `/dev/fuse` spoken by hand: enough to open, read and map it."""

    def __init__(self, at, name, content):
        self.name, self.content, self.served = name.encode(), content, set()
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        checked(LIBC.mount(b"llmo-hung", at.encode(), b"fuse", 0, options.encode()), "mount")

    def attributes(self, node):
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o755
        size = 0 if node == 1 else len(self.content)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, request):
        length, opcode, unique, node, _, _, pid = struct.unpack_from("<IIQQIII", request)
        body = request[40:length]
        init = 26
        if opcode != init and pid not in self.served:
            return  # Never.
        error, out = 0, b""
        if opcode == init:
            out = struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 8, 6, 65536, 1, 0, 0, 0) + bytes(28)
        elif opcode == 1:  # LOOKUP
            if body.rstrip(b"\0") == self.name:
                out = struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + self.attributes(2)
            else:
                error = -2
        elif opcode == 3:  # GETATTR
            out = struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        elif opcode in (14, 27):  # OPEN, OPENDIR
            out = struct.pack("<QII", 1, 2, 0)
        elif opcode == 15:  # READ
            _, offset, size = struct.unpack_from("<QQI", body)
            out = self.content[offset : offset + size]
        elif opcode in (2, 42):  # FORGET, BATCH_FORGET: no answer
            return
        elif opcode in (18, 25, 29):  # FLUSH, RELEASE, RELEASEDIR
            out = b""
        else:
            error = -38
        os.write(self.fd, struct.pack("<IiQ", 16 + len(out), error, unique) + out)

    def serve(self, pid):
        self.served.add(pid)
        while True:
            try:
                self.answer(os.read(self.fd, 1 << 20))
            except OSError:
                return


def fuse(folder, library):
    with open(library, "rb") as file:
        content = file.read()
    at, name = f"{folder}/hung", os.path.basename(library)
    os.makedirs(at)
    system = Fuse(at, name, content)
    own = os.getpid()
    child = fork(lambda: system.serve(own))
    os.close(system.fd)
    # Mapped by a program that maps nothing else: the daemon is told of it at once, and asks in vain.
    held = [map_executable(f"{at}/{name}")]
    ready(held=len(held))
    until_told(lambda: held.append(map_executable(f"{at}/{name}")), 0.5)
    held.clear()
    # Whoever still waits is let go with an error.
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    LIBC.umount2(at.encode(), 2)


def crowd(folder, count):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    held = [context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost") for _ in range(int(count))]
    ready(objects=len(held))
    until_told(lambda: None, 1)


def go(folder, program, count):
    own = copy(program, f"{folder}/program")
    os.chmod(own, 0o755)
    os.execve(own, [own], {"CLIENT_CROWD": count})


TRICKS = {
    "overlay": overlay,
    "lease": lease,
    "fifo": fifo,
    "shrink": shrink,
    "elf": elf,
    "spend": spend,
    "disguise": disguise,
    "swap": swap,
    "copies": copies,
    "hello": hello,
    "chroot": chroot,
    "crowd": crowd,
    "go": go,
    "fuse": fuse,
}

if __name__ == "__main__":
    # It keeps its files to itself, but not from those who want to read them.
    os.umask(0o022)
    if sys.argv[1] != "fuse":
        become_nobody()
    TRICKS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"ended": True}), flush=True)
