"""The loop: receives on UDP, answers to where it came from, counts, and logs a line for each."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NoReturn

from appliance.neopxe import boot_menu, packet
from appliance.neopxe.conf import Configuration

PORT = 4011  # PXE 2.1 section 2.2.4

_LARGEST_PACKET = 65535
_RECEIVE_BUFFER = 1 << 20  # bytes: a room full of machines that are switched on at once
_DROPS_TOLD_EVERY = 10.0  # seconds, so that a flood does not fill the log


class CannotBind(Exception):
    """The address or the port cannot be had; the message says which and why."""


@dataclass
class Drops:
    """Counts what was not answered, and tells it now and then."""

    counts: Counter[str] = field(default_factory=Counter)
    told: float = 0.0  # time.monotonic() of the last line

    def add(self, reason: str) -> str | None:
        """Count one; return the line for the log when it is time for one."""
        self.counts[reason] += 1
        now = time.monotonic()
        if self.told and now - self.told < _DROPS_TOLD_EVERY:
            return None
        self.told = now
        line = "; ".join(f"{count} x {why}" for why, count in self.counts.most_common(5))
        self.counts.clear()
        return f"dropped {line}"


class Server:
    """A PXE boot server on one address."""

    def __init__(self, configuration: Configuration, port: int = PORT) -> None:
        self._configuration = configuration
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._drops = Drops()
        where = f"{configuration.ip_addr}:{port}"
        try:
            self._socket.bind((str(configuration.ip_addr), port))
        except OSError as error:
            self._socket.close()
            raise CannotBind(f"{where}: cannot listen on UDP: {error.strerror}") from None
        _log(f"ready {configuration.ip_addr}:{self.port}")

    @property
    def port(self) -> int:
        """The UDP port that is bound."""
        return int(self._socket.getsockname()[1])

    def serve(self) -> NoReturn:
        """Answer for ever. What a client sends can end neither this nor the log's lines."""
        while True:
            data, source = self._socket.recvfrom(_LARGEST_PACKET)
            self._answer(data, source)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def _answer(self, data: bytes, source: tuple[str, int]) -> None:
        try:
            request = packet.parse(data)
        except packet.MalformedPacket as malformed:
            self._drop(str(malformed))
            return
        reply = boot_menu.answer(self._configuration, request)
        if isinstance(reply, boot_menu.Dropped):
            self._drop(reply.reason)
            return
        try:
            # To the source port: iPXE asks from 68, EDK2 from 4011.
            self._socket.sendto(packet.build(reply.packet), source)
        except OSError as error:  # port 0, an address without a route: the client's own fault
            self._drop(f"answer cannot be sent: {error.strerror}")
            return
        _log(reply.summary)

    def _drop(self, reason: str) -> None:
        line = self._drops.add(reason)
        if line is not None:
            _log(line)


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
