"""Asks an HTTP server for what it must not give; prints `STATUS LENGTH SHA256 REQUEST` for each.

Usage: http_tricks.py SERVER PORT. Requests that are no HTTP at all get status 400 or no answer (0).
"""

import hashlib
import random
import socket
import sys

server, port = sys.argv[1], int(sys.argv[2])
targets = [
    *("../kernels/secret", "../../etc/passwd", "/etc/passwd", "..%2fkernels%2fsecret"),
    *("%2e%2e/kernels/secret", "%2e%2e%2fkernels%2fsecret", "%252e%252e/kernels/secret"),
    *("kernels/../../kernels/secret", "kernels/..%5c..%5csecret", "..;/kernels/secret"),
    *("x%00.ipxe", "%00", "%", "%zz", "?" * 3000, "a" * 7000, "a" * 70000, "a/" * 3000),
    *("leak", "leak-folder/secret", "leak-relative", ".boot.ipxe.new", "kernels/.new-x/kernel"),
    *("~root/.bashrc", "file:///etc/passwd", "kernels", "kernels/", "\\..\\kernels\\secret"),
]
requests = [f"GET /{target} HTTP/1.0\r\n\r\n".encode() for target in targets]
requests += [f"GET {target} HTTP/1.0\r\n\r\n".encode() for target in targets]
requests += [
    b"GET http://elsewhere/etc/passwd HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    b"PUT /boot.ipxe HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"DELETE /boot.ipxe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /boot.ipxe HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10000)) + b"\r\n",
    b"GET /boot.ipxe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"\r\n" * 5000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
chance = random.Random(0)
requests += [chance.randbytes(chance.randrange(1, 3000)) for _ in range(200)]
for request in requests:
    answer = b""
    with socket.create_connection((server, port), 20) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # it hung up, as it may
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12].decode("ascii", "replace") if head.startswith(b"HTTP/") else "0"
    digest = hashlib.sha256(body).hexdigest()
    print(status, len(body), digest, ascii(request[:60]).replace(" ", "_"))
print("end")
