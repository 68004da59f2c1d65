"""What each daemon is left with: a user, capabilities, and the files that it may touch.

setpriv(1) does it, just before it becomes the daemon. Landlock (Linux 5.13) holds for root too, and
for a daemon that was taken over; where the kernel has none, users and chroot remain.
docs/security.md shows the outcome as a table.
"""

from __future__ import annotations

from pathlib import Path

from appliance.daemons.base import Program
from appliance.run import CommandFailed, run

# Programs, libraries and what they read of the system; nothing in there is secret.
_SYSTEM = (Path("/usr"), Path("/opt"), Path("/etc"))

# The rights of Landlock's first version (Linux 5.13), in setpriv's words: all that are handled,
# so that what no rule grants is denied.
_READ = "execute,read-file,read-dir"
_WRITE = "read-file,read-dir,write-file,make-reg,remove-file,make-dir,remove-dir"
_HANDLED = (
    "fs:execute,write-file,read-file,read-dir,remove-dir,remove-file,"
    "make-char,make-dir,make-reg,make-sock,make-fifo,make-block,make-sym"
)


def confine(program: Program, *, landlock: bool) -> list[str]:
    """Return the command line that starts a program with no more than it asks for."""
    files = _files(program) if landlock and not program.unconfined else ()
    return ["setpriv", *_identity(program), *files, *program.argv]


async def landlock_works() -> bool:
    """Try whether kernel and container let a process give up its access to files."""
    try:
        # A right that nothing needs: /bin/true itself must be readable.
        await run(["setpriv", "--no-new-privs", "--landlock-access", "fs:make-block", "true"])
    except CommandFailed:
        return False
    return True


def _identity(program: Program) -> list[str]:
    words = ["--no-new-privs"]
    kept = ",".join(["-all", *(f"+{capability}" for capability in program.capabilities)])
    if program.user is None:
        # What root starts has all that is in the bounding set, and what is inheritable.
        bounds = ["--bounding-set", kept, "--inh-caps", "-all"]
        return [*words, *bounds] if program.capabilities else words
    group = program.group or program.user
    words += ["--reuid", program.user, "--regid", group, "--clear-groups"]
    return [*words, "--inh-caps", kept, "--ambient-caps", kept]


def _files(program: Program) -> list[str]:
    rules = [f"{_READ}:{path}" for path in (*_SYSTEM, *program.reads)]
    rules += [f"{_WRITE}:{path}" for path in program.writes]
    rules += ["read-file,write-file:/dev/null"]
    words = ["--landlock-access", _HANDLED]
    for rule in rules:
        words += ["--landlock-rule", f"path-beneath:{rule}"]
    return words
