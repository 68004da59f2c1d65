import asyncio
import errno
import os

from appliance.events.hub import Hub
from appliance.orchestrator import Orchestrator
from appliance.paths import Paths
from appliance.settings import Settings


def refusal(error: OSError) -> str:
    async def ask() -> str:
        return Orchestrator(Settings(), Paths(), Hub())._refusal(error)

    return asyncio.run(ask())


def test_a_fault_of_the_disk_that_names_no_file_is_told_of_the_volume() -> None:
    said = refusal(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert said.startswith("/srv/boot/published (boot/published on the host): Input/output error")
