"""Drops kernels and asks for them as a machine does; runs in a container of the bench's image.

Prints one line of JSON per drop: how it was served, seconds from the kernel's close to the first
menu that names it, and to the last byte of the kernel, whose SHA-256 was compared.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

DEMO = Path("/usr/share/bootdrop-lab/demo/amd64")  # Debian's cloud kernel
PACE = 0.005  # seconds between two requests for the menu
PATIENCE = 30.0  # seconds

# The baselines: their folder and their menu, which nginx serves, as it does the appliance's.
BY_HAND = Path("/srv/by-hand")
DROPPED = Path("/srv/dropped")
BY_HAND_URL = "http://192.168.10.1:8070"
OURS = Path("/srv/boot/kernels")
OURS_URL = "http://192.168.10.1:8069"

_NGINX = """
error_log stderr warn;
events {}
http {
    access_log off;
    sendfile on;
    server { listen 192.168.10.1:8070; root /srv/by-hand; }
}
"""

# What a person types, as a function: copy, and name the kernel in the menu.
_PUBLISH = """
publish() {
    cp "$1" /srv/by-hand/
    printf '#!ipxe\\nkernel %s\\nboot\\n' "${1##*/}" >/srv/by-hand/boot.ipxe
}
"""
_BY_HAND = f'{_PUBLISH} publish "$1"'

# The same by a script that looks every second, and publishes what it has not seen yet.
_LOOK = f"""{_PUBLISH}
seen=
while sleep 1; do
    for kernel in {DROPPED}/*; do
        [ -e "$kernel" ] || continue
        case "$seen" in *" $kernel "*) continue ;; esac
        publish "$kernel"
        seen="$seen $kernel "
    done
done
"""


def another(bzimage: bytes, number: int) -> bytes:
    """Return a kernel with a release and a payload of its own, of the same length."""
    data = bytearray(bzimage)
    # Where boot.rst has kernel_version: the release, and behind a space who built it.
    release = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
    end = data.index(b" ", release)
    data[end - 4 : end] = b"%04d" % number
    middle = len(data) // 2
    data[middle : middle + 8] = number.to_bytes(8, "little")
    return bytes(data)


def get(url: str) -> bytes:
    """Fetch a URL whole."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def await_in_menu(url: str, name: str) -> str:
    """Ask for the menu until it names the kernel; return the path that it has there."""
    deadline = time.monotonic() + PATIENCE
    tick = threading.Event()
    wanted = re.compile(rf"kernel (?:\$\{{base\}}/)?(\S*{re.escape(name)}\S*)")
    while time.monotonic() < deadline:
        found = wanted.search(get(f"{url}/boot.ipxe").decode())
        if found:
            return found[1]
        tick.wait(PACE)  # a machine that asks again, and not all of the server's time
    raise SystemExit(f"{url}/boot.ipxe: {name} is not in it after {PATIENCE:g} s")


def drop(way: str, data: bytes, file: Path, url: str) -> None:
    """Write a kernel, fetch what is served of it, and print how long that took."""
    # The script would publish half a kernel: it is moved in, as nobody is told to do for us.
    target = file.with_name(f".{file.name}") if way == "script" else file
    with open(target, "wb") as dropped:
        dropped.write(data)
    if target != file:
        target.rename(file)
    closed = time.monotonic()
    if way == "hand":
        subprocess.run(["sh", "-c", _BY_HAND, "by-hand", file], check=True)
    path = await_in_menu(url, file.name)
    in_menu = time.monotonic()
    served = get(f"{url}/{path}")
    fetched = time.monotonic()
    if hashlib.sha256(served).digest() != hashlib.sha256(data).digest():
        raise SystemExit(f"{url}/{path}: not the bytes that were dropped as {file.name}")
    figures = {"way": way, "menu_s": in_menu - closed, "kernel_s": fetched - closed}
    print(json.dumps(figures), flush=True)


def main(count: int, every: int) -> None:
    """Drop `count` kernels for the appliance, and every so many one for each baseline."""
    for folder in (BY_HAND, DROPPED):
        folder.mkdir()
    (BY_HAND / "boot.ipxe").touch()
    Path("/tmp/nginx.conf").write_text(_NGINX)
    subprocess.run(["nginx", "-c", "/tmp/nginx.conf"], check=True)
    (demo,) = DEMO.glob("vmlinuz-*")
    bzimage = demo.read_bytes()
    with subprocess.Popen(["sh", "-c", _LOOK]) as script:
        for number in range(count):
            data, name = another(bzimage, number), f"kernel-{number:04d}"
            drop("ours", data, OURS / name, OURS_URL)
            if number % every == 0:
                drop("hand", data, Path("/tmp") / name, BY_HAND_URL)
                drop("script", data, DROPPED / f"script-{number:04d}", BY_HAND_URL)
        script.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
