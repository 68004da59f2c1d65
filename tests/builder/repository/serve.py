"""Serves /srv on port 80, prints each request, and stalls below /stalled/."""

from __future__ import annotations

import os
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Event

STALLED = "/stalled/"  # like /good/, but packages stop in the middle and never go on
BROKEN = "/broken/"  # like /good/, but bash is not what its index says


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        for prefix in (STALLED, BROKEN):
            if path.startswith(prefix):
                return super().translate_path("/good/" + path.removeprefix(prefix))
        return super().translate_path(path)

    def do_GET(self) -> None:
        misbehaves = self.path.endswith(".rpm") and self.path.startswith((STALLED, BROKEN))
        if not misbehaves:
            return super().do_GET()
        with open(self.translate_path(self.path), "rb") as file:
            content = file.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if self.path.startswith(STALLED):
            Event().wait()
        self.wfile.write(bytes(len(content) - half))
        return None


if __name__ == "__main__":
    os.chdir("/srv")
    ThreadingHTTPServer(("", 80), Handler).serve_forever()
