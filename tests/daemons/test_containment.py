"""What the running container shows to the network, and what each daemon could touch.

Exact lists: a new listener, user, capability or writable folder has to be written down here.
"""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

SETTINGS = {"BOOTDROP_RARP_HOSTS": "52:54:00:00:0a:01=192.168.10.77"}
DAEMONS = ("nginx", "tftpd", "neopxe", "radvd", "rarpd", "dhcpd")

# Capabilities by their numbers in <linux/capability.h>.
_NET_BIND_SERVICE, _NET_RAW = 1 << 10, 1 << 13
_SETGID, _SETUID, _SYS_CHROOT = 1 << 6, 1 << 7, 1 << 18


def in_appliance(lab: Lab, script: str) -> str:
    status, said = lab.exec_appliance(["sh", "-c", script])
    assert status == 0, said
    return said


# --- from the network


def test_nothing_listens_but_what_machines_need(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    listening = {
        *(f"tcp {address}" for address in sockets(shared_lab, "tcp", state="0A")),
        *(f"udp {address}" for address in sockets(shared_lab, "udp", state="07")),
    }
    assert listening == {
        "udp 0.0.0.0:67",  # dhcpd, which sends from it and hears frames instead
        "udp 192.168.10.1:69",  # in.tftpd
        "udp 192.168.10.1:4011",  # neopxe
        "tcp 192.168.10.1:8069",  # nginx
    }
    assert sockets(shared_lab, "tcp6", state="0A") == []
    assert sockets(shared_lab, "udp6", state="07") == []


def test_only_the_daemons_that_must_hear_raw_frames(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    frames = in_appliance(shared_lab, "cat /proc/net/packet").splitlines()[1:]
    # Protocol and user: ETH_P_ALL for DHCP, ETH_P_RARP for RARP; ETH_P_IP for the orchestrator,
    # which hears of other DHCP servers.
    users = user_ids(shared_lab)
    assert sorted((line.split()[3], users[line.split()[7]]) for line in frames) == [
        ("0003", "dhcpd"),
        ("0800", "root"),
        ("8035", "rarpd"),
    ]
    # ICMPv6: radvd, and the orchestrator that hears whether other routers are there.
    raw = in_appliance(shared_lab, "cat /proc/net/raw6").splitlines()[1:]
    assert sorted(users[line.split()[7]] for line in raw) == ["radvd", "root"]


def sockets(lab: Lab, protocol: str, state: str) -> list[str]:
    """Return the local ADDRESS:PORT of each socket in a state of <net/tcp_states.h>."""
    lines = in_appliance(lab, f"cat /proc/net/{protocol}").splitlines()[1:]
    return sorted(readable(line.split()[1]) for line in lines if line.split()[3] == state)


def readable(address: str) -> str:
    """Read the kernel's hexadecimal: an IPv4 address in the host's byte order, and the port."""
    host, _, port = address.partition(":")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(host))) + f":{int(port, 16)}"


def user_ids(lab: Lab) -> dict[str, str]:
    """Return the name of each user by its number."""
    lines = in_appliance(lab, "cat /etc/passwd").splitlines()
    return {line.split(":")[2]: line.split(":")[0] for line in lines}


# --- inside


def test_each_daemon_runs_as_its_own_user_with_what_it_needs(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    users = user_ids(shared_lab)
    found = {}
    for name in DAEMONS:
        pid = in_appliance(shared_lab, supervised_pid(name)).strip()
        status = dict(
            line.split(":\t", 1)
            for line in in_appliance(shared_lab, f"cat /proc/{pid}/status").splitlines()
        )
        assert status["NoNewPrivs"].strip() == "1"
        found[name] = (users[status["Uid"].split()[0]], int(status["CapEff"], 16))
    assert found == {
        "nginx": ("www-data", _NET_BIND_SERVICE),
        "tftpd": (
            "root",
            _NET_BIND_SERVICE | _SETGID | _SETUID | _SYS_CHROOT,
        ),  # it waits; each transfer is a chrooted process of the user tftp
        "neopxe": ("neopxe", 0),
        "radvd": ("radvd", _NET_RAW),
        "rarpd": ("rarpd", _NET_RAW),
        "dhcpd": ("dhcpd", _NET_BIND_SERVICE | _NET_RAW),
    }


def supervised_pid(name: str) -> str:
    """Return a command that prints the process of a program."""
    return (
        "/opt/venv/bin/python -m supervisor.supervisorctl -s unix:///run/bootdrop/supervisor.sock "
        f"pid {name}"
    )


def confined(lab: Lab, name: str, script: str) -> str:
    """Run a shell script with the very rights of a daemon, in place of it."""
    text = in_appliance(lab, f"cat /run/bootdrop/etc/supervisor/conf.d/{name}.conf")
    section = configparser.ConfigParser(interpolation=None)
    section.read_string(text)
    argv = shlex.split(section[f"program:{name}"]["command"])
    # The last of setpriv's words; the daemon's own follow.
    rights = argv[: argv.index("path-beneath:read-file,write-file:/dev/null") + 1]
    _, said = lab.exec_appliance([*rights, "sh", "-c", script])
    return said


@pytest.mark.parametrize(
    ("daemon", "writable"),
    [
        ("nginx", ["/run/bootdrop/nginx"]),
        ("tftpd", []),
        ("neopxe", []),
        ("radvd", ["/run/bootdrop/radvd"]),
        ("rarpd", []),
        ("dhcpd", ["/var/lib/bootdrop/dhcpd"]),
    ],
)
def test_a_daemon_that_is_taken_over_writes_to_its_own_folder_at_most(
    shared_lab: Lab, daemon: str, writable: list[str]
) -> None:
    shared_lab.wait_ready()
    # For root with all its rights: whatever is not mounted read-only.
    find = "find / -path /proc -prune -o -path /sys -prune -o -type d -writable -print"
    folders = in_appliance(shared_lab, find).splitlines()
    assert {"/tmp", "/run/bootdrop", "/srv/boot/published", "/dev/shm"} <= set(folders)
    # nginx makes folders of its own in its own.
    folders = [folder for folder in folders if not folder.startswith("/run/bootdrop/nginx/")]
    write = '(echo >"$f/probe") 2>/dev/null && rm "$f/probe" && echo "$f"'
    said = confined(shared_lab, daemon, f"for f in {shlex.join(folders)}; do {write}; done")
    assert said.split() == writable


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_is_taken_over_sees_nothing_that_is_not_published(
    shared_lab: Lab, test_kernel: Path, daemon: str
) -> None:
    shared_lab.wait_ready()
    shared_lab.drop(test_kernel, "bzImage")
    shared_lab.wait_status(lambda status: "bzImage" in status.kernels, 10)
    (shared_lab.boot / "clients" / "secret.yaml").write_text("secret\n")
    hidden = ["/srv/boot/kernels/bzImage", "/srv/boot/clients/secret.yaml"]
    hidden += ["/run/bootdrop/etc/supervisor/supervisord.conf"] if daemon == "nginx" else []
    script = f'for f in {shlex.join(hidden)}; do head -c 1 "$f" >/dev/null && echo "$f"; done'
    script += " 2>/dev/null; ls /srv/boot /srv/boot/kernels /var/lib/bootdrop 2>/dev/null"
    assert confined(shared_lab, daemon, script) == ""
    published = confined(shared_lab, daemon, "cat /srv/boot/published/help.txt 2>/dev/null")
    assert bool(published) == (daemon in ("nginx", "tftpd"))


def test_a_daemon_cannot_become_root_or_signal_others(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    for daemon in DAEMONS:
        if daemon != "tftpd":
            said = confined(shared_lab, daemon, "kill -0 1; setpriv --reuid 0 true")
            assert said.count("Operation not permitted") == 2, said


def test_the_root_file_system_is_read_only_and_the_container_gains_nothing(
    shared_lab: Lab,
) -> None:
    configuration = shared_lab.appliance.attrs["HostConfig"]
    assert configuration["ReadonlyRootfs"] is True
    assert configuration["Privileged"] is False
    assert configuration["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in configuration["SecurityOpt"]
    assert not any("docker.sock" in bind for bind in configuration["Binds"] or [])
