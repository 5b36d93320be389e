"""Pods without an API server: containerd with its own state in FOLDER, spoken to over the CRI as a kubelet does.
`pods.py FOLDER ROOT`: ROOT is a suite's root, of which the image is made. containerd, ctr and runc are those on PATH; ENGINE_LIBRARIES
says where theirs are, if they were unpacked and not installed.

It says `{"ready": true}`, then answers each line of its input with one of its own:
  {"do": "pod", "name": N}                               a sandbox on the host's network: {"pod": ID}
  {"do": "start", "pod": ID, "name": N, "args": [...], "mounts": [...]}   a container: {"container": ID}
  {"do": "wait", "container": ID}                        its end: {"exit": CODE}
  {"do": "remove", "pod": ID}                            stops and removes all of it
  {"do": "churn", "args": [[...]...], "together": N, "mounts": [...]}   a pod for each, in one go: {"exits": [...]}
All pods are removed and containerd is ended when the input ends.

The CRI's messages are few and small: they are written by hand, so that neither its definition nor a compiler for it is needed.
"""

import concurrent.futures
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid

import grpc

FOLDER, ROOT = sys.argv[1:3]
SOCKET = f"{FOLDER}/run/containerd.sock"
NODE = 2  # A namespace of the node's.
EXITED = 2
CONFIG = """version = 2
root = "{0}/lib"
state = "{0}/run"
[grpc]
  address = "{1}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{0}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/llmo/curl:latest"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
"""


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(fields):
    """Of {number: value}: a string, bytes (a message), a number, or a list of those."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
            else:
                data = one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def parsed(data):
    """{number: last value}."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        fields[key >> 3] = value
    return fields


def pairs(mapping):
    return [message({1: key, 2: value}) for key, value in mapping.items()]


class Cri:
    def __init__(self):
        self.channel = grpc.insecure_channel("unix://" + SOCKET)
        self.sandboxes = {}
        self.uids = itertools.count()

    def call(self, method, fields):
        call = self.channel.unary_unary("/runtime.v1.RuntimeService/" + method)
        return parsed(call(message(fields), timeout=60))

    def pod(self, name):
        uid = str(uuid.uuid4())
        logs = f"{FOLDER}/logs/{uid}"
        os.makedirs(logs)
        labels = {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "test", "io.kubernetes.pod.uid": uid}
        namespaces = message({1: NODE, 2: 1, 3: 0})
        linux = message({1: f"/kubepods/burstable/pod{uid}", 2: message({1: namespaces})})
        config = message({1: message({1: name, 2: uid, 3: "test"}), 3: logs, 6: pairs(labels), 8: linux})
        sandbox = self.call("RunPodSandbox", {1: config})[1].decode()
        self.sandboxes[sandbox] = config
        return sandbox

    def start(self, sandbox, name, args, mounts):
        binds = [message({1: path, 2: path, 3: 1}) for path in mounts]
        context = message({3: message({1: NODE, 2: 1, 3: 0})})
        config = {1: message({1: name}), 2: message({1: "localhost/llmo/curl:latest"}), 3: args, 7: binds}
        config |= {9: pairs({"io.kubernetes.container.name": name}), 11: f"{name}.log", 15: message({2: context})}
        request = {1: sandbox, 2: message(config), 3: self.sandboxes[sandbox]}
        container = self.call("CreateContainer", request)[1].decode()
        self.call("StartContainer", {1: container})
        return container

    def wait(self, container):
        while True:
            status = parsed(self.call("ContainerStatus", {1: container})[1])
            if status.get(3) == EXITED:
                return status.get(7, 0)
            time.sleep(0.05)

    def remove(self, sandbox):
        self.sandboxes.pop(sandbox, None)
        self.call("StopPodSandbox", {1: sandbox})
        self.call("RemovePodSandbox", {1: sandbox})

    def churn(self, args, together, mounts):
        def one(number, words):
            sandbox = self.pod(f"churn-{next(self.uids)}")
            code = self.wait(self.start(sandbox, "caller", words, mounts))
            self.remove(sandbox)
            return code

        with concurrent.futures.ThreadPoolExecutor(together) as pool:
            return list(pool.map(one, range(len(args)), args))


def image(to):
    """An OCI archive of one layer: the root, and what a sandbox runs, which waits for ever."""
    layer = io.BytesIO()
    subprocess.run(["cc", "-static", "-Os", "-x", "c", "-", "-o", f"{FOLDER}/pause"], check=True, input=b"#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(ROOT, arcname=".")
        tar.add(f"{FOLDER}/pause", arcname="./pause")
    blobs = {}

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layers = blob(layer.getvalue(), "layer.v1.tar")
    about = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"]}}
    config = blob(json.dumps(about | {"rootfs": {"type": "layers", "diff_ids": [layers["digest"]]}}).encode(), "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": [layers]}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(to, "w") as tar:
        for name, data in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def started():
    os.makedirs(f"{FOLDER}/run")
    with open(f"{FOLDER}/config.toml", "w") as file:
        file.write(CONFIG.format(FOLDER, SOCKET))
    log = open(f"{FOLDER}/containerd.log", "w")
    libraries = {"LD_LIBRARY_PATH": os.environ["ENGINE_LIBRARIES"]} if "ENGINE_LIBRARIES" in os.environ else {}
    command = ["containerd", "-c", f"{FOLDER}/config.toml"]
    server = subprocess.Popen(command, env=os.environ | libraries, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for _ in range(100):
        if os.path.exists(SOCKET):
            break
        time.sleep(0.1)
    image(f"{FOLDER}/image.tar")
    importing = ["ctr", "-a", SOCKET, "-n", "k8s.io", "images", "import", "--base-name", "localhost/llmo/curl", f"{FOLDER}/image.tar"]
    subprocess.run(importing, check=True, stdout=log, stderr=log)
    return server


def answer(cri, request):
    what = request.pop("do")
    if what == "pod":
        return {"pod": cri.pod(request["name"])}
    if what == "start":
        return {"container": cri.start(request["pod"], request["name"], request["args"], request["mounts"])}
    if what == "wait":
        return {"exit": cri.wait(request["container"])}
    if what == "churn":
        return {"exits": cri.churn(**request)}
    cri.remove(request["pod"])
    return {}


def main():
    server = started()
    cri = Cri()
    try:
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(cri, json.loads(line))), flush=True)
    finally:
        for sandbox in list(cri.sandboxes):
            cri.remove(sandbox)
        server.terminate()
        server.wait()


main()
