"""Holds many HTTP connections that do next to nothing, while others are served.

Usage: http_slow.py SERVER PORT PATH COUNT KIND; KIND is `silent` (no whole request) or `deaf` (asks
for PATH and does not read). Prints `open COUNT`, then seconds and SHA-256 of PATH as a good client
gets it, ten times. With `silent` it then waits until the server has hung up on all.
"""

import hashlib
import selectors
import socket
import sys
import time
import urllib.request

server, port, path, count, kind = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
beginning = f"GET /{path} HTTP/1.1\r\nHost: x\r\n"
held = []
for _ in range(int(count)):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect((server, port))
    connection.sendall((beginning + "\r\n" * (kind == "deaf")).encode())
    held.append(connection)
print("open", len(held))
for _ in range(10):
    start = time.monotonic()
    with urllib.request.urlopen(f"http://{server}:{port}/{path}", timeout=10) as answer:
        digest = hashlib.sha256(answer.read()).hexdigest()
    print(f"{time.monotonic() - start:.3f}", digest)
if kind == "silent":
    waiting = selectors.DefaultSelector()
    for connection in held:
        waiting.register(connection, selectors.EVENT_READ)
    deadline = time.monotonic() + 30
    while waiting.get_map() and time.monotonic() < deadline:
        for key, _ in waiting.select(deadline - time.monotonic()):
            try:
                if key.fileobj.recv(1000):
                    continue
            except ConnectionError:
                pass  # hung up without a good-bye
            waiting.unregister(key.fileobj)
    print("still open", len(waiting.get_map()))
print("end")
