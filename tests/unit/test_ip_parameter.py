"""Every form of the kernel's `ip=`, and what is wrong with what is none."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ip_parameter import IpParameter, parse
from appliance.settings_load import InvalidSettings, load

# The article's own.
ARTICLE = "192.168.10.10:192.168.10.1:192.168.10.1:255.255.255.0:testsrv:eth1:none"


@pytest.mark.parametrize(
    ("method", "asks"),
    [
        ("dhcp", {"dhcp"}),
        ("bootp", {"bootp"}),
        ("rarp", {"rarp"}),
        ("both", {"bootp", "rarp"}),
        ("any", {"dhcp", "bootp", "rarp"}),
        ("on", {"dhcp", "bootp", "rarp"}),
        ("", {"dhcp", "bootp", "rarp"}),
        ("dhcp,1,lab-7", {"dhcp"}),
    ],
)
def test_a_method_stands_alone_or_as_the_seventh_part(method: str, asks: set[str]) -> None:
    alone = parse(method)
    assert (alone, str(alone), alone.asks) == (IpParameter(method=method), method, asks)
    assert parse(f"::::::{method}") == alone


@pytest.mark.parametrize("method", ["off", "none"])
def test_off_alone_means_no_network_and_takes_no_name(method: str) -> None:
    assert str(parse(method).named("lab", "eth0")) == method
    assert parse(method).asks == frozenset()


def test_the_articles_own_is_read_in_all_its_parts() -> None:
    assert parse(ARTICLE) == IpParameter(
        client=IPv4Address("192.168.10.10"),
        server=IPv4Address("192.168.10.1"),
        gateway=IPv4Address("192.168.10.1"),
        netmask=IPv4Address("255.255.255.0"),
        hostname="testsrv",
        device="eth1",
        method="none",
    )


@pytest.mark.parametrize(
    "text",
    [
        ARTICLE,
        f"{ARTICLE}:192.168.10.1",
        f"{ARTICLE}:192.168.10.1:192.168.10.2:192.168.10.3",
        ":::::eth0:dhcp",
        ":::::eth0",
        "::::lab.example:eth0:dhcp,0x01,52-54-00-12-34-56",
        "192.168.10.10",
        "192.168.10.10::192.168.10.1:255.255.255.0::eth0:off",
        "::::::dhcp:192.168.10.1",
    ],
)
def test_what_is_written_is_what_was_read(text: str) -> None:
    assert str(parse(text)) == text


def test_name_and_device_are_put_in_where_there_are_none() -> None:
    assert str(parse("dhcp").named("lab", "eth1")) == "::::lab:eth1:dhcp"
    assert str(parse(":::::eth0:bootp").named("lab", "eth1")) == "::::lab:eth0:bootp"
    assert str(parse(ARTICLE).named("other", "eth0")) == ARTICLE


def test_zero_is_no_address_for_the_kernel_either() -> None:
    assert parse("0.0.0.0::::lab::dhcp") == IpParameter(hostname="lab", method="dhcp")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dchp", "method: dchp is none of any, bootp, both, dhcp, none, off, on, rarp"),
        ("::::::dchp", "method: dchp is none of any, bootp, both, dhcp, none, off, on, rarp"),
        ("dhcp,one,lab", "method: dhcp,one,lab is none of"),
        ("192.168.10.300::::::none", "client: 192.168.10.300 is no IPv4 address"),
        (":server:::::dhcp", "server: server is no IPv4 address"),
        (":::255.0.255.0:::dhcp", "netmask: 255.0.255.0 has holes"),
        ("::::-lab::dhcp", "hostname: -lab cannot be one"),
        (f"::::{'x' * 65}::dhcp", "hostname: x"),
        (":::::an interface:dhcp", "device: an interface cannot be one"),
        (":::::${net0/mac}:dhcp", "device: ${net0/mac} cannot be one"),
        (":::::eth0:none", "client: none asks nobody, so an address has to be there"),
        (f"{ARTICLE}::::", "it has 11 parts, of which the kernel knows 10"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse(text)
    assert str(raised.value).startswith(reason)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_nothing_is_read_that_a_loader_would_run(text: str) -> None:
    try:
        written = str(parse(text))
    except ValueError:
        return
    assert written.isascii()
    assert written.isprintable()
    assert not set(written) & set(" ${};|&#")


def test_the_setting_says_which_part_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOTDROP_NFS_IP", "::::lab::dchp")
    with pytest.raises(InvalidSettings) as raised:
        load(tmp_path / "none.yaml")
    (problem,) = raised.value.problems
    assert problem.startswith(
        "BOOTDROP_NFS_IP=::::lab::dchp: not allowed here: method: dchp is none of any, bootp, both,"
    )
