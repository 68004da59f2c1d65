"""What the host needs before the lab runs: a venv, the base image, Compose and buildx.

`python3 tests/lab/host.py prepare` does what is missing and nothing else. It uses the standard
library alone, as it runs before any venv exists.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BASE_IMAGE = "debian:trixie-slim"
BASE_SUITE = "trixie"
PLUGINS = ("compose", "buildx")

# Runs in a container of the base image, so that the host's own distribution does not matter.
FETCH_PLUGINS = """
set -e
exec 3>&1 >&2
mkdir -p /tmp/plugins/unpacked
cd /tmp/plugins
apt-get update -q
apt-get download -q "$@"
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
cd unpacked/usr/libexec/docker/cli-plugins
tar -c -f - docker-* >&3
"""


class HostError(Exception):
    """Something that the host lacks: what, where, what to do, in one line."""


def say(step: str) -> None:
    """Tell a person about a step that takes time."""
    print(f"prepare: {step}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path], cure: str, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command with its output shown on standard error.

    Raises HostError, which ends with `cure`, when it fails.
    """
    try:
        subprocess.run(
            argv, check=True, stdout=sys.stderr, env={**os.environ, **(environment or {})}
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(f"{Path(argv[0]).name}: {error}; {cure}") from error


def succeeds(*argv: str) -> bool:
    """Tell whether a command exists and exits with 0; its output is dropped."""
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def prepare_venv(checkout: Path = CHECKOUT) -> None:
    """Make .venv from requirements-dev.lock, again when the lock is another one.

    Works where ensurepip is missing (Debian without python3-venv): the pip of `python3` installs.
    """
    lock, venv = checkout / "requirements-dev.lock", checkout / ".venv"
    wanted, stamp = hashlib.sha256(lock.read_bytes()).hexdigest(), venv / "requirements-dev.sha256"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"{venv} from {lock.name}")
    python = sys.executable
    if not succeeds(python, "-m", "pip", "--version"):
        raise HostError(f"{python}: has no pip; install it (Debian: apt install python3-pip)")
    run([python, "-m", "venv", "--without-pip", "--clear", venv], "is the folder writable?")
    pip = [python, "-m", "pip", "--python", str(venv / "bin" / "python")]
    run(
        [*pip, "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", lock],
        f"see pip's lines above; it installs {lock.name}",
    )
    stamp.write_text(wanted)


def prepare_base_image() -> None:
    """Have `debian:trixie-slim`: pulled, or made by debootstrap where no registry is reached."""
    if not succeeds("docker", "version"):
        raise HostError("docker: no engine answers; install and start it, or join its group")
    if succeeds("docker", "image", "inspect", BASE_IMAGE):
        return
    say(f"pulling {BASE_IMAGE}")
    if not succeeds("docker", "pull", "-q", BASE_IMAGE):
        say(f"no registry has it: making {BASE_IMAGE} by debootstrap, about a minute")
        bootstrap_base_image()


def bootstrap_base_image() -> None:
    """Import a minimal Debian as the base image; the host keeps nothing but the image."""
    as_root = root_prefix()
    cure = "debootstrap needs apt and a mirror: is the host a Debian or Ubuntu with network?"
    with tempfile.TemporaryDirectory(prefix="bootdrop-base.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # Unpacked, not installed: nothing is left on the host.
        packages = ["debootstrap", "debian-archive-keyring"]
        run(["sh", "-ec", 'cd "$1"; shift; apt-get download -q "$@"', "-", folder, *packages], cure)
        tools, tree = folder / "tools", folder / "tree"
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "-x", package, tools], cure)
        try:
            keyring = tools / "usr/share/keyrings/debian-archive-keyring.gpg"
            debootstrap = ["env", f"DEBOOTSTRAP_DIR={tools}/usr/share/debootstrap"]
            debootstrap += [f"{tools}/usr/sbin/debootstrap", "--variant=minbase"]
            debootstrap += [f"--keyring={keyring}", BASE_SUITE]
            run([*as_root, *debootstrap, tree], cure)
            archive = folder / "tree.tar"
            run([*as_root, "tar", "-c", "-C", tree, "-f", archive, "."], "is the disk full?")
            run(["docker", "import", archive, BASE_IMAGE], "does the engine have room?")
        finally:
            run([*as_root, "rm", "-rf", "--one-file-system", tree], f"remove {tree} by hand")


def root_prefix() -> list[str]:
    """Return what makes a command run as root: nothing for root, sudo for others."""
    if os.geteuid() == 0:
        return []
    if sudo := shutil.which("sudo"):
        return [sudo]
    raise HostError(
        f"{BASE_IMAGE}: neither pulled nor made, as debootstrap needs root and there is no sudo;"
        " run this as root once, or load the image with `docker load`"
    )


def prepare_plugins() -> None:
    """Have `docker compose` (v2) and `docker buildx`; else take Debian's, for this user alone."""
    missing = [plugin for plugin in PLUGINS if not succeeds("docker", plugin, "version")]
    if not missing:
        return
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    folder = config / "cli-plugins"
    packages = [f"docker-{plugin}" for plugin in missing]
    say(f"{' and '.join(packages)} from Debian {BASE_SUITE} into {folder}")
    fetched = subprocess.run(
        ["docker", "run", "--rm", BASE_IMAGE, "sh", "-c", FETCH_PLUGINS, "-", *packages],
        stdout=subprocess.PIPE,
        check=False,
    )
    if fetched.returncode:
        raise HostError(
            f"{', '.join(packages)}: not fetched into {folder}; see apt's lines above,"
            " or install Compose v2 and buildx from the distribution"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(fetched.stdout)) as archive:
        for package in packages:
            member = archive.extractfile(package)
            assert member is not None, f"{package} is no file in its package"
            # By rename: another run must never start half of one.
            partial = folder / f".{package}.{os.getpid()}"
            partial.write_bytes(member.read())
            partial.chmod(0o755)
            partial.rename(folder / package)
    for plugin in missing:
        if not succeeds("docker", plugin, "version"):
            raise HostError(
                f"{folder}/docker-{plugin}: does not start; remove it and install yours"
            )


def main(arguments: Sequence[str]) -> int:
    """Prepare the host; 0 when all is there, 2 with one line when something is missing."""
    if list(arguments) != ["prepare"]:
        print("usage: python3 tests/lab/host.py prepare", file=sys.stderr)
        return 2
    try:
        prepare_base_image()
        prepare_plugins()
        prepare_venv()
    except (HostError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
