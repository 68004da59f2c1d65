from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.neopxe.conf import (
    BadConfiguration,
    Configuration,
    Discovery,
    Service,
    menu_size,
    parse,
)
from tests.unit.neopxe.requests import ARTICLE, SERVER


def problems(text: str) -> list[str]:
    with pytest.raises(BadConfiguration) as raised:
        parse(text)
    return [str(problem) for problem in raised.value.problems]


def test_the_articles_configuration_is_read() -> None:
    assert parse(ARTICLE) == Configuration(
        SERVER, (Service(1, SERVER, "pxelinux.0", "Linux"),), "Press [F8] for menu...", 10
    )


def test_comments_blank_lines_and_the_order_of_services_are_kept() -> None:
    text = "# lab\n\nip_addr=10.0.0.1\nservice=7,10.0.0.2,b,B\nservice=0,10.0.0.1,,Local disk\n"
    assert parse(text).services == (
        Service(7, IPv4Address("10.0.0.2"), "b", "B"),
        Service(0, IPv4Address("10.0.0.1"), "", "Local disk"),
    )


def test_a_name_may_hold_commas() -> None:
    assert parse("ip_addr=10.0.0.1\nservice=1,10.0.0.1,a,Linux, the new one").services[0].name == (
        "Linux, the new one"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ip_adr=10.0.0.1", "5:1: unknown key 'ip_adr'; did you mean ip_addr?"),
        ("ip_addr=10.0.0.1", "5:1: ip_addr stands here for the second time"),
        ("nothing", "5:1: no `=`; a line is `key=value`, or a comment that starts with `#`"),
        ("service=2,10.0.0.300,a,A", "5:11: '10.0.0.300' is not an IPv4 address"),
        ("service=65536,10.0.0.1,a,A", "5:9: '65536' is not a number from 0 to 65535"),
        ("service=2,10.0.0.1,a", "5:9: 3 of 4 fields; it is TYPE,IP,FILE,NAME"),
        ("service=1,10.0.0.1,a,A", "5:9: type 1 stands here for the second time"),
        ("service=2,10.0.0.1,a,", "5:22: NAME is empty; it is what the menu shows"),
        ("arch_file=2,efi-x64,a", "5:1: no service of type 2 that loads a file"),
        (
            "arch_file=1,efi-x86,a",
            "5:13: unknown architecture 'efi-x86'; bios, efi-ia32, efi-x64, efi-arm64, ipxe",
        ),
        ("discovery=anycast", "5:11: 'anycast' is none of unicast, broadcast, multicast"),
        (
            "discovery=broadcast",
            "5:1: add listen_67=INTERFACE; nobody else hears a broadcast discovery",
        ),
        ("multicast_addr=224.0.1.2", "5:1: only with discovery=multicast"),
        ("multicast_addr=10.0.0.1", "5:16: 10.0.0.1 is not a multicast address"),
        ("listen_67=", "5:11: '' cannot be an interface's name"),
        ("listen_67=a/b", "5:11: 'a/b' cannot be an interface's name"),
        ("service=2,10.0.0.1,a,caf\u00e9", "5:9: only printable ASCII can be shown by firmware"),
    ],
)
def test_a_wrong_line_is_named_with_line_and_column(line: str, problem: str) -> None:
    assert problems(ARTICLE + line) == [problem]


def test_every_wrong_line_is_named() -> None:
    assert problems("ip_addr=x\nprompt_timeout=256\n") == [
        "1:9: 'x' is not an IPv4 address",
        "2:16: '256' is not a number from 0 to 255 seconds",
    ]


@pytest.mark.parametrize(
    ("text", "missing"),
    [("service=1,10.0.0.1,a,A", "ip_addr=ADDRESS"), ("ip_addr=10.0.0.1", "service=TYPE")],
)
def test_what_cannot_be_done_without_is_asked_for(text: str, missing: str) -> None:
    assert missing in problems(text)[0]


def test_a_menu_that_has_no_room_in_option_43_is_refused() -> None:
    lines = [f"service={type_},10.0.0.1,a,{'x' * 40}" for type_ in range(1, 8)]
    first = problems("ip_addr=10.0.0.1\n" + "\n".join(lines))[0]
    assert first == "6:1: the menu has no room for this: 283 bytes, 255 at most"


def test_a_prompt_below_the_services_takes_room_too() -> None:
    lines = [f"service={type_},10.0.0.1,a,{'x' * 36}" for type_ in range(1, 6)]
    text = "\n".join(["ip_addr=10.0.0.1", *lines])
    assert len(parse(f"{text}\nprompt=").services) == 5
    later = f"{text}\nprompt={'x' * 69}"
    assert problems(later) == ["5:1: the menu has no room for this: 264 bytes, 255 at most"]


def test_a_menu_longer_than_firmware_takes_is_refused() -> None:
    lines = [f"service={type_},10.0.0.1,a,x" for type_ in range(1, 26)]
    text = "\n".join(["prompt=", "ip_addr=10.0.0.1", *lines])
    assert problems(text) == ["25:1: the menu has no room for this: 264 bytes, 255 at most"]


def test_the_size_of_a_menu_is_known_before_it_is_written() -> None:
    names = ["Linux", "Local disk"]
    assert menu_size("Press [F8] for menu...", names) == 3 + 16 + 23 + 25 + 1
    assert menu_size("", names, Discovery.MULTICAST) == 3 + 6 + 16 + 23 + 3 + 1


def test_discovery_is_read() -> None:
    read = parse(ARTICLE + "discovery=multicast\nmulticast_addr=239.0.0.1\nlisten_67=br0\n")
    assert (read.discovery, read.multicast_addr, read.listen_67) == (
        Discovery.MULTICAST,
        IPv4Address("239.0.0.1"),
        "br0",
    )


@pytest.mark.parametrize(
    ("file", "layer", "expected"),
    [
        ("pxelinux.0", 1, "pxelinux.1"),
        ("k/1/pxelinux.0", 300, "k/1/pxelinux.300"),
        ("snponly.efi", 1, None),
        (".0", 1, None),
        ("x" * 125 + ".0", 10, None),
    ],
)
def test_a_file_that_ends_in_0_has_further_layers(
    file: str, layer: int, expected: str | None
) -> None:
    assert Service(1, SERVER, file, "A").file_for(("bios",), layer) == expected


def test_a_machine_gets_the_file_of_its_architecture() -> None:
    service = parse(ARTICLE + "arch_file=1,efi-x64,snponly.efi\n").services[0]
    names = (("bios",), ("efi-x64",), ("efi-arm64",), ("19",))
    assert [service.file_for(name) for name in names] == ["pxelinux.0", "snponly.efi", None, None]


def test_ipxe_gets_a_file_of_its_own_before_that_of_its_machine() -> None:
    service = parse(ARTICLE + "arch_file=1,ipxe,a.ipxe\narch_file=1,efi-x64,b.efi\n").services[0]
    names = (("ipxe", "bios"), ("ipxe", "efi-x64"), ("efi-x64",), ("bios",))
    assert [service.file_for(name) for name in names] == ["a.ipxe", "a.ipxe", "b.efi", "pxelinux.0"]


def test_without_arch_files_every_architecture_gets_the_one_file() -> None:
    assert parse(ARTICLE).services[0].file_for(("efi-x64",)) == "pxelinux.0"


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    try:
        parse(text)
    except BadConfiguration as bad:
        assert bad.problems
