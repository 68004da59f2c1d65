"""Records what passes over the lab's bridge, as a pcap file."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from docker.models.containers import Container

from tests.lab.feed import WaitedInVain
from tests.lab.stream import Stream
from tests.lab.transcript import Transcript

# Its process's number, so that it can be ended from a second `docker exec`. `-U` writes each packet
# at once; root stays root, as there is no capability to become anybody else.
_TCPDUMP = 'echo $$ >"$1.pid"; exec tcpdump -i br0 -Z root -U --immediate-mode -w "$1" "$2"'
_PATIENCE = 10  # seconds


@dataclass(frozen=True)
class Capture:
    """A recording that goes on."""

    container: Container
    path: str
    stream: Stream

    def stop(self) -> bytes:
        """End it and return the pcap file."""
        self.container.exec_run(["sh", "-c", f'kill -INT "$(cat {self.path}.pid)"'])
        if not self.stream.ended.wait(_PATIENCE):
            raise WaitedInVain(f"tcpdump does not end: {self.path}")
        return self._read()

    def _read(self) -> bytes:
        pieces, _ = self.container.get_archive(self.path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            (member,) = archive.getmembers()
            extracted = archive.extractfile(member)
            assert extracted is not None
            return extracted.read()


@contextmanager
def recording(container: Container, expression: str) -> Iterator[Capture]:
    """Record packets that match tcpdump's expression, from the first line of the block on."""
    tcpdump = Transcript()
    path = f"/run/capture-{token_hex(4)}"
    stream = Stream(container, ["sh", "-c", _TCPDUMP, "sh", path, expression], tcpdump.hear)
    try:
        tcpdump.wait_for("listening on", _PATIENCE)
        yield Capture(container, path, stream)
    finally:
        stream.close()
