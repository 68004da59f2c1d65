from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from appliance import bounded
from appliance.layers.layers import Layers
from appliance.layers.storage import Volume
from appliance.paths import Paths
from appliance.settings import Settings


def test_machines_that_somebody_makes_up_do_not_fill_the_memory(tmp_path: Path) -> None:
    paths = Paths(boot=tmp_path)
    known = Layers(
        *(paths, Settings(), lambda _layer, _path: None, lambda _export: False),
        storage=Volume(paths),
    )
    for number in range(bounded.MOST_MACHINES + 10):
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        known.machine_seen(mac, IPv4Address(0x0A000000 + number))
        known.machine_seen("52:54:00:12:34:56", IPv4Address("192.168.10.5"))
    assert len(known._seen) == bounded.MOST_MACHINES
    assert "52-54-00-12-34-56" in known._seen
