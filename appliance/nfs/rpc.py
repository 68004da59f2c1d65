"""As much of an NFS client as a probe needs: is the root of an export there, by NFSv3 and NFSv4?

ONC RPC over TCP (RFC 5531), rpcbind's version 2 (RFC 1833), MOUNT3 and NFSv3 (RFC 1813), NFSv4.0
(RFC 7530). libnfs' tools would leave a client on the server's record with each mount by NFSv4,
for which it would wait in its next grace period.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import PurePosixPath

NFS_PORT = 2049
RPCBIND_PORT = 111

NFS_PROGRAM, MOUNT_PROGRAM = 100003, 100005
_PMAP = 100000
_SET, _GETPORT = 1, 3
_MNT, _UMNT = 1, 3
_GETATTR3 = 1
_COMPOUND = 1
_GETATTR4, _LOOKUP4, _PUTROOTFH4 = 9, 15, 24
_TYPE4 = 1 << 1  # FATTR4_TYPE in the first word of a bitmap
_FOLDER = 2  # NF3DIR, NF4DIR
# As bindresvport(3) and the kernel's client have them.
_FIRST_OF_ROOT, _LAST_OF_ROOT = 665, 1023
_LONGEST_ANSWER = 1 << 16  # bytes


class NotAnswered(Exception):
    """The server answered something else than what a client needs; the message says what."""


class NotRegistered(NotAnswered):
    """rpcbind does not know of a service, as after it was killed and started anew."""


def look_by_v3(server: IPv4Address, path: PurePosixPath, patience: float) -> None:
    """Mount an export as a kernel does: mountd's port by rpcbind, then the root's attributes.

    `patience` is in seconds for each of its calls. Raises NotAnswered, OSError.
    """
    port = registered_port(server, MOUNT_PROGRAM, patience)
    if not 0 < port < 1 << 16:
        raise NotRegistered("rpcbind does not know mountd's port")
    where = _opaque(str(path).encode())
    mounted = call(server, port, (MOUNT_PROGRAM, 3, _MNT), where, patience)
    _good(mounted, "the mount is refused")
    (length,) = struct.unpack_from(">I", mounted, 4)
    attributes = call(
        server, NFS_PORT, (NFS_PROGRAM, 3, _GETATTR3), _opaque(mounted[8 : 8 + length]), patience
    )
    call(server, port, (MOUNT_PROGRAM, 3, _UMNT), where, patience)
    _good(attributes, "no attributes")
    _is_folder(attributes[4:8])


def registered_port(server: IPv4Address, program: int, patience: float) -> int:
    """Ask rpcbind by which TCP port a program's version 3 is had; 0 when it does not know.

    Raises NotAnswered, OSError.
    """
    asked = struct.pack(">IIII", program, 3, socket.IPPROTO_TCP, 0)
    return int.from_bytes(call(server, RPCBIND_PORT, (_PMAP, 2, _GETPORT), asked, patience)[:4])


def register(program: int, port: int, patience: float) -> None:
    """Tell the rpcbind of this host by which TCP port a program's version 3 is had.

    It believes only who is on the same host and root there. Raises NotAnswered, OSError.
    """
    told = struct.pack(">IIII", program, 3, socket.IPPROTO_TCP, port)
    answer = call(IPv4Address("127.0.0.1"), RPCBIND_PORT, (_PMAP, 2, _SET), told, patience)
    if not int.from_bytes(answer[:4]):
        raise NotAnswered(f"rpcbind does not take port {port} of program {program}")


def look_by_v4(server: IPv4Address, path: PurePosixPath, patience: float) -> None:
    """Walk to an export's root and ask for its attributes, without becoming a client on record.

    Raises NotAnswered, OSError.
    """
    names = path.parts[1:]
    operations = [struct.pack(">I", _PUTROOTFH4)]
    operations += [struct.pack(">I", _LOOKUP4) + _opaque(name.encode()) for name in names]
    operations.append(struct.pack(">III", _GETATTR4, 1, _TYPE4))
    arguments = struct.pack(">III", 0, 0, len(operations)) + b"".join(operations)
    answer = call(server, NFS_PORT, (NFS_PROGRAM, 4, _COMPOUND), arguments, patience)
    _good(answer, "the walk to it ends")
    # The type is the last of what comes.
    _is_folder(answer[-4:])


def call(
    server: IPv4Address, port: int, what: tuple[int, int, int], arguments: bytes, patience: float
) -> bytes:
    """Call a procedure (program, version, number) as root over TCP; return its results.

    Raises NotAnswered, OSError.
    """
    with _connect(server, port, patience) as connection:
        identity = struct.pack(">I", 0) + _opaque(b"bootdrop") + struct.pack(">III", 0, 0, 0)
        message = struct.pack(">6I", 1, 0, 2, *what) + struct.pack(">I", 1) + _opaque(identity)
        message += bytes(8) + arguments
        connection.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)
        with connection.makefile("rb") as answers:
            return _results(_record(answers.read))


def _connect(server: IPv4Address, port: int, patience: float) -> socket.socket:
    """Connect from a port that only root may use, as the kernel's server wants; else from any.

    Their number is small: closed by a reset, each is free at once.
    """
    for own in range(_LAST_OF_ROOT, _FIRST_OF_ROOT - 1, -1):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            connection.bind(("", own))
            connection.connect((str(server), port))
        except OSError as error:
            connection.close()
            if error.errno == errno.EACCES:  # not root
                break
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
        else:
            return connection
    return socket.create_connection((str(server), port), patience)


def _results(reply: bytes) -> bytes:
    """Take away what RPC itself says, which has to be: accepted, success."""
    try:
        _, kind, denied = struct.unpack_from(">III", reply)
        if denied:
            raise NotAnswered("the call was denied")
        _, verifier = struct.unpack_from(">II", reply, 12)
        (state,) = struct.unpack_from(">I", reply, 20 + verifier)
    except struct.error:
        raise NotAnswered("the answer is cut short") from None
    if kind != 1 or state:
        raise NotAnswered(f"the call failed: accept_stat {state}")
    return reply[24 + verifier :]


def _record(read: Callable[[int], bytes]) -> bytes:
    record, last = b"", False
    while not last:
        mark = read(4)
        if len(mark) < 4:
            raise NotAnswered("the connection was closed")
        (word,) = struct.unpack(">I", mark)
        last, length = bool(word & 0x80000000), word & 0x7FFFFFFF
        if len(record) + length > _LONGEST_ANSWER:
            raise NotAnswered("the answer has no end")
        record += read(length)
    return record


def _good(results: bytes, otherwise: str) -> None:
    if len(results) < 4:
        raise NotAnswered("the answer is cut short")
    (status,) = struct.unpack_from(">I", results)
    if status:
        raise NotAnswered(f"{otherwise}: status {status}")
    if len(results) < 8:
        raise NotAnswered("the answer is cut short")


def _is_folder(kind: bytes) -> None:
    if kind != struct.pack(">I", _FOLDER):
        raise NotAnswered("its root is no folder")


def _opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)
