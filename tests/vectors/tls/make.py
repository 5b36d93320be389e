"""Makes the transcripts here: real OpenSSL handshakes in memory, with throw-away keys.

    python3 make.py      (writes *.txt beside itself)

A line: `c` or `s` and hexadecimal: ciphertext that the client or the server sent, as one write; `w N`, `r N`: plaintext
bytes that the client's application wrote or read in one call.
"""
import os
import ssl
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PIECES = [350, 67, 50, 50, 90, 1, 4000, 61]


def contexts(folder, version, ciphers):
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    if not os.path.exists(key):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-keyout", key, "-out", cert, "-subj", "/CN=api.openai.com"],
            check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(["h2", "http/1.1"])
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
        if version == ssl.TLSVersion.TLSv1_2:
            context.set_ciphers(ciphers)
    return server, client


def transcript(folder, version, ciphers, buffer):
    server_context, client_context = contexts(folder, version, ciphers)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="API.OpenAI.com")
    lines = []

    def sent(who, bio):
        data = bio.read()
        if data:
            lines.append(f"{who} {data.hex()}")
            bio.write(data)

    done = set()
    for _ in range(6):
        for name, side, bio in (("c", client, to_server), ("s", server, to_client)):
            try:
                side.do_handshake()
                done.add(name)
            except ssl.SSLWantReadError:
                pass
            sent(name, bio)
        if len(done) == 2:
            break
    lines.append(f"w {client.write(b'q' * 500)}")
    sent("c", to_server)
    server.read(4096)
    for size in PIECES:
        server.write(b"a" * size)
        sent("s", to_client)
        left = size
        while left:
            n = len(client.read(buffer))
            left -= n
            lines.append(f"r {n}")
    return "\n".join(lines) + "\n"


CASES = {
    "tls13": (ssl.TLSVersion.TLSv1_3, "", 16384),
    "tls13-small-buffer": (ssl.TLSVersion.TLSv1_3, "", 100),
    "tls12-gcm": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", 16384),
    "tls12-chacha": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305", 16384),
    "tls12-cbc": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256", 16384),
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, (version, ciphers, buffer) in CASES.items():
            with open(os.path.join(HERE, name + ".txt"), "w") as file:
                file.write(transcript(folder, version, ciphers, buffer))
    sys.exit(0)
