"""Maps files executable, as a loader would: `mapper.py [--once] FILE...`. It says `{"ready": true}` when all are mapped and keeps
them mapped until its input ends; with --once each is unmapped before the next. CLIENT_PACE: seconds between two, default 0."""

import json
import mmap
import os
import sys
import time

once = sys.argv[1:2] == ["--once"]
pace = float(os.environ.get("CLIENT_PACE", "0"))
held = []
for path in sys.argv[2 if once else 1 :]:
    with open(path, "rb") as file:
        length = min(os.fstat(file.fileno()).st_size, 1 << 20)
        mapped = mmap.mmap(file.fileno(), length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    time.sleep(pace)
    if once:
        mapped.close()
    else:
        held.append(mapped)
print(json.dumps({"ready": True, "pid": os.getpid(), "mapped": len(held)}), flush=True)
sys.stdin.read()
