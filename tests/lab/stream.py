"""A command in a container as a stream: what it prints is handed on, what is sent it reads."""

from __future__ import annotations

import codecs
import socket
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

from docker.models.containers import Container
from docker.utils.socket import frames_iter


class Stream:
    """Runs a command with `docker exec`; a thread of its own hands on the text that it prints.

    `hear` gets each piece of standard output and error in its order, `end` is called after the
    last one: when the command has ended or its container is gone.
    """

    def __init__(
        self,
        container: Container,
        argv: Sequence[str],
        hear: Callable[[str], None],
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = container.client.api  # type: ignore[union-attr]
        self._exec: str = self._api.exec_create(container.id, list(argv), stdin=True)["Id"]
        self._stream: Any = self._api.exec_start(self._exec, socket=True)
        self._hear, self._end = hear, end
        self.ended = Event()
        self._reader = Thread(target=self._read, name=argv[0], daemon=True)
        self._reader.start()

    def send(self, text: str) -> None:
        """Write to the command's standard input. Raises OSError when it has ended."""
        self._stream._sock.sendall(text.encode())

    def exit_status(self) -> int | None:
        """Return the command's exit status; None while it runs or when it was never known."""
        status: int | None = self._api.exec_inspect(self._exec)["ExitCode"]
        return status

    def close(self) -> None:
        """Stop listening; the command itself is not ended by this."""
        if not self.ended.is_set():
            self._stream._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            for _, piece in frames_iter(self._stream, tty=False):  # type: ignore[no-untyped-call]
                self._hear(decoder.decode(piece))
        except OSError:
            pass  # the engine cut the connection: the container is gone, which is an end as well
        finally:
            self.ended.set()
            self._end()
