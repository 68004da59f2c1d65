"""Speaks TFTP to a server, well and badly.

Usage: tftp.py SERVER get PATH           prints SHA256 of the file
       tftp.py SERVER half PATH COUNT    asks COUNT times, takes one block each, waits for a line
       tftp.py SERVER tricks             asks for what must not be given: `OPCODE TEXT NAME`
       tftp.py SERVER storm COUNT        sends random and mutated packets
"""

import hashlib
import random
import socket
import struct
import sys
from typing import Any

server, verb, *arguments = sys.argv[1:]
READ, WRITE, DATA, ACKNOWLEDGE, ERROR = range(1, 6)


def request(name: bytes, opcode: int = READ, mode: bytes = b"octet", options: bytes = b"") -> bytes:
    return struct.pack(">H", opcode) + name + b"\0" + mode + b"\0" + options


def ask(packet: bytes, timeout: float = 3.0) -> tuple[socket.socket, bytes, Any]:
    """Send a request from a socket of its own until it is answered, five times at most."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(timeout)
    for _ in range(5):
        client.sendto(packet, (server, 69))
        try:
            return client, *client.recvfrom(65536)
        except TimeoutError:
            continue
    return client, b"", None


def get(path: str) -> str:
    client, answer, peer = ask(request(path.encode()))
    digest, number = hashlib.sha256(), 1
    while True:
        opcode, block = struct.unpack_from(">HH", answer)
        assert opcode == DATA, answer[:60]
        if block == number & 0xFFFF:
            digest.update(answer[4:])
            number += 1
        client.sendto(struct.pack(">HH", ACKNOWLEDGE, block), peer)
        if len(answer) < 516:
            return digest.hexdigest()
        answer, peer = client.recvfrom(65536)


def tricks() -> None:
    names = [b"../kernels/secret", b"../../etc/passwd", b"/etc/passwd", b"//etc/passwd", b"leak"]
    names += [b"leak-relative", b"leak-folder/secret", b"kernels/../../kernels/secret", b"", b"."]
    names += [b"kernels", b"/", b"a" * 400, b"\xff\xfe", b"x\n\x1b[31m", b"..\\kernels\\secret"]
    packets = [request(name) for name in names]
    packets += [request(name, mode=b"netascii") for name in names[:3]]
    packets += [request(name, WRITE) for name in (b"boot.ipxe", b"new", b"../kernels/new")]
    packets += [request(b"help.txt", mode=b"mail"), request(b"help.txt", mode=b"x" * 400)]
    for packet in packets:
        _, answer, _ = ask(packet)
        opcode = struct.unpack_from(">H", answer)[0] if answer else 0
        print(opcode, ascii(answer[4:40]).replace(" ", "_"), ascii(packet[:40]).replace(" ", "_"))


def storm(count: int) -> None:
    chance = random.Random(0)
    seed = request(b"boot.ipxe", options=b"blksize\x001432\0tsize\0000\0timeout\0001\0")
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(count):
        packet = bytearray(seed)
        for _ in range(chance.randrange(1, 8)):
            packet[chance.randrange(len(packet))] = chance.randrange(256)
        if number % 3 == 0:
            packet = chance.randbytes(chance.randrange(0, 1400))
        client.sendto(packet, (server, 69))
        if number % 50 == 49:  # lets the server keep up: what it drops tests nothing
            ask(request(b"help.txt"))


if verb == "get":
    print(get(arguments[0]))
elif verb == "half":
    sockets = [ask(request(arguments[0].encode()), 1.0) for _ in range(int(arguments[1]))]
    print("answered", sum(bool(answer) for _, answer, _ in sockets))
    sys.stdin.readline()  # who hung up would end them
elif verb == "tricks":
    tricks()
else:
    storm(int(arguments[0]))
print("end")
