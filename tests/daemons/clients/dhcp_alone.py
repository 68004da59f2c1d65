"""Runs dhcpd on one end of a cable, in a namespace of its own, and asks it from the other end.

Standard input: dhcpd.conf, a line `--`, then a frame in hex on each line. Prints what answers each.
"""

import socket
import subprocess
import sys
from pathlib import Path

conf, _, frames = sys.stdin.read().partition("--\n")
Path("/tmp/dhcpd.conf").write_text(conf)
Path("/tmp/dhcpd.leases").touch()
for words in (
    "link add eth1 type veth peer name far",
    "addr add 192.168.10.1/24 dev eth1",
    "link set eth1 up",
    "link set far up",
):
    subprocess.run(["ip", *words.split()], check=True)
argv = ["dhcpd", "-4", "-f", "-d", "--no-pid", "-cf", "/tmp/dhcpd.conf", "-lf", "/tmp/dhcpd.leases"]
with subprocess.Popen([*argv, "eth1"], stderr=subprocess.PIPE, text=True) as dhcpd:
    assert dhcpd.stderr is not None
    for line in dhcpd.stderr:
        if "Server starting service" in line:
            break
    far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    far.bind(("far", 0x0800))
    far.settimeout(10)
    for frame in map(bytes.fromhex, frames.split()):
        far.send(frame)
        while (answer := far.recv(2048))[23:24] != b"\x11" or answer[34:36] != b"\0\x43":
            pass
        print(answer.hex())
    dhcpd.terminate()
