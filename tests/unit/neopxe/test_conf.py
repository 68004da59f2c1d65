from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.neopxe.conf import BadConfiguration, Configuration, Service, parse
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
            "5:13: unknown architecture 'efi-x86'; bios, efi-ia32, efi-x64, efi-arm64",
        ),
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
    assert first == "6:9: the menu has no room for this: 283 bytes, 255 at most"


def test_a_machine_gets_the_file_of_its_architecture() -> None:
    service = parse(ARTICLE + "arch_file=1,efi-x64,snponly.efi\n").services[0]
    assert [service.file_for(arch) for arch in (0, 7, 9, 11)] == [
        "pxelinux.0",
        "snponly.efi",
        "snponly.efi",
        None,
    ]


def test_without_arch_files_every_architecture_gets_the_one_file() -> None:
    assert parse(ARTICLE).services[0].file_for(7) == "pxelinux.0"


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    try:
        parse(text)
    except BadConfiguration as bad:
        assert bad.problems
