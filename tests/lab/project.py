"""One Compose project of a checkout's lab: its names, its folder, its `docker compose`."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread

SERVER = "192.168.10.1"  # br0 in the lab (network.sh)
CHECKOUT = Path(__file__).resolve().parents[2]

# Where distributions keep the CA bundle that knows of a way out which inspects TLS.
_CA_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Arch
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora
    Path("/etc/ssl/ca-bundle.pem"),  # openSUSE
)


class LabError(Exception):
    """The lab could not do what was asked: what, where, what to do."""


@dataclass(frozen=True)
class Project:
    """Names that differ by checkout and by `suffix`, so that labs stand side by side."""

    suffix: str = ""
    checkout: Path = CHECKOUT

    @property
    def name(self) -> str:
        """Compose's project name: bootdrop-lab-CHECKOUT[-SUFFIX]."""
        return f"bootdrop-lab-{self.tag}" + (f"-{self.suffix}" if self.suffix else "")

    @property
    def tag(self) -> str:
        """What tells this checkout's images and labs from another's."""
        return hashlib.sha256(os.fsencode(self.checkout)).hexdigest()[:8]

    def image(self, name: str) -> str:
        """Return the reference of an image that `build_images` made: appliance or lab."""
        return f"bootdrop/{name}:{self.tag}"

    @property
    def folder(self) -> Path:
        """What this lab has on the host, gone with it."""
        return self.checkout / ".lab" / (self.suffix or "lab")

    @property
    def boot(self) -> Path:
        """The folder that is the appliance's volume."""
        return self.folder / "boot"

    @property
    def environment_file(self) -> Path:
        """The appliance's settings, as NAME=VALUE lines."""
        return self.folder / "appliance.env"

    @property
    def compose_file(self) -> Path:
        """A Compose file of this lab's own, which need not be there."""
        return self.folder / "compose.yaml"

    def compose(self, *arguments: str, show: bool = False) -> None:
        """Run `docker compose` for this project. Raises LabError with its last lines.

        With `show` it prints what it does, and Ctrl-C ends it. Else it goes on to its end first:
        the engine would finish what half an `up` asked for after all was taken down.
        """
        argv = ["docker", "compose", "--progress", "plain" if show else "quiet"]
        argv += ["--project-name", self.name, "--project-directory", str(self.checkout)]
        argv += ["-f", str(self.checkout / "compose.yaml")]
        argv += ["-f", str(self.checkout / "compose.lab.yaml"), "--profile", "builder"]
        if self.compose_file.exists():
            argv += ["-f", str(self.compose_file)]
        argv += arguments
        with nullcontext() if show else uninterrupted():
            done = subprocess.run(
                argv,
                env=os.environ | self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=None if show else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                check=False,
            )
        if done.returncode:
            said = "\n".join((done.stdout or "").splitlines()[-15:])
            raise LabError(f"docker compose {' '.join(arguments)} of {self.name} failed\n{said}")

    def _variables(self) -> dict[str, str]:
        variables = {
            "BOOTDROP_BOOT_DIR": str(self.boot),
            "BOOTDROP_CA_BUNDLE": str(ca_bundle()),
            "BOOTDROP_TAG": self.tag,
        }
        if self.environment_file.exists():
            variables["BOOTDROP_LAB_ENV"] = str(self.environment_file)
        return variables


def ca_bundle() -> Path:
    """Return the CA bundle that image builds trust: BOOTDROP_CA_BUNDLE, or the host's.

    /dev/null where there is none: Compose refuses a secret whose file is missing.
    """
    if chosen := os.environ.get("BOOTDROP_CA_BUNDLE"):
        return Path(chosen)
    return next((bundle for bundle in _CA_BUNDLES if bundle.exists()), Path(os.devnull))


def build_images(checkout: Path = CHECKOUT) -> None:
    """Build the appliance's and the lab's image, with progress shown. Raises LabError."""
    Project("images", checkout).compose("build", show=True)


def end_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, through every `finally`."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the end of the block."""
    if current_thread() is not main_thread():  # only the main thread is interrupted by them
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
