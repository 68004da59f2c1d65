from __future__ import annotations

import errno
import os

from appliance.paths import Paths
from appliance.volume import refusal


def test_a_fault_of_the_disk_that_names_no_file_is_told_of_the_volume() -> None:
    said = refusal(Paths(), OSError(errno.EIO, os.strerror(errno.EIO)))
    assert said.startswith("/srv/boot/published (boot/published on the host): Input/output error")


def test_a_full_volume_is_one_fault_whichever_file_met_it_first() -> None:
    full = [OSError(errno.ENOSPC, "", f"/srv/boot/published/{name}") for name in ("a", "b")]
    assert len({refusal(Paths(), error) for error in full}) == 1
