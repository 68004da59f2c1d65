"""The real command on loopback."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import randbits

from appliance.neopxe import packet
from tests.unit.neopxe.requests import ARTICLE, a_request

CHECKOUT = Path(__file__).parents[3]
ON_LOOPBACK = ARTICLE.replace("192.168.10.1", "127.0.0.1")


def neopxe(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "appliance.neopxe", *arguments]


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    reader: subprocess.Popen[bytes]
    log: Path
    client: socket.socket

    @property
    def port(self) -> int:
        return int(self.client.getpeername()[1])

    def ask(self, data: bytes) -> bytes:
        """Send a question and return the answer to it, past those to others."""
        self.client.send(data)
        while (reply := self.client.recv(65535))[4:8] != data[4:8]:
            pass
        return reply

    def settle(self) -> None:
        """Return when all that was sent has been looked at: it is read in order."""
        # An answer to an earlier packet must not be taken for this one's.
        self.ask(packet.build(replace(a_request(), xid=randbits(32))))

    def resident(self) -> int:
        """Return the server's memory in bytes (proc(5))."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kibibytes = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert kibibytes
        return int(kibibytes[1]) * 1024

    def end(self) -> list[str]:
        """Return the whole log, without the first line."""
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.reader.wait(10)
        return self.log.read_text().splitlines()[1:]


@contextmanager
def serving(folder: Path, configuration: str = ON_LOOPBACK) -> Iterator[Running]:
    """Start it on a free port; `folder` gets its configuration and its log."""
    file, log = folder / "neopxe.conf", folder / "log"
    file.write_text(configuration)
    argv = neopxe("--config", str(file), "--port", "0")
    # A pipe that nobody reads would fill up: the log goes through one that is always read.
    with subprocess.Popen(argv, cwd=CHECKOUT, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        ready = process.stderr.readline()
        match = re.fullmatch(rb"ready 127\.0\.0\.1:(\d+)\n", ready)
        assert match, ready
        with (
            log.open("wb") as written,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            written.write(ready)
            written.flush()
            reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=written)
            client.settimeout(10)
            client.connect(("127.0.0.1", int(match[1])))
            try:
                yield Running(process, reader, log, client)
            finally:
                process.kill()
                reader.wait()
