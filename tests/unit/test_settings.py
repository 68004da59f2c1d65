from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance import settings_docs
from appliance.hosts import Host
from appliance.settings import Settings, variable
from appliance.settings_load import InvalidSettings, load

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_variables_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def problems(file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as raised:
        load(file)
    return raised.value.problems


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "bootdrop.yaml"
    file.write_text("http_port: 81\nmenu_timeout: 7\n")
    monkeypatch.setenv("BOOTDROP_HTTP_PORT", "82")
    settings = load(file)
    assert (settings.http_port, settings.menu_timeout, settings.keep) == (82, 7, 3)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTDROP_HTTP_PORT", "")
    assert load().http_port == 8069


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "eighty"),
        ("HTTP_PORT", "0"),
        ("DHCP_RANGE", "192.168.10.10"),
        ("DHCP_RANGE", "192.168.10.20-192.168.10.10"),
        ("SUBNET", "192.168.10.1/24"),
        ("SERVER_ADDRESS", "example.org"),
        ("BIOS_LOADER", "grub"),
        ("PROMPT", "naïve"),
        ("PROMPT", "x" * 70),
        ("PROMPT_TIMEOUT", "256"),
        ("CONSOLE", "ttyS0"),
        ("CMDLINE", "quiet ${net0/mac}"),
        ("CMDLINE", "quiet || shell"),
        ("CMDLINE", "#debug"),
        ("TFTP_BLOCK_SIZE", "65465"),
        ("INTERFACE", "a name that is too long"),
        ("KEEP", "-1"),
        ("BOOTP_LEASE_TIME", "59"),
        ("NFS_IP", "dchp"),
        ("NFS_OPTIONS", "rsize=1048576," * 6),
        ("RARP_HOSTS", "52:54:00:12:34:56"),
        ("RARP_HOSTS", "52:54:00:12:34:56=lab.example"),
        ("RARP_HOSTS", "01:00:5e:00:00:01=192.168.10.5"),
        ("RARP_HOSTS", "52:54:00:12:34:56=192.168.10.5 52:54:00:12:34:56=192.168.10.6"),
        ("RARP_HOSTS", "52:54:00:12:34:56=192.168.10.5 52:54:00:12:34:57=192.168.10.5"),
    ],
)
def test_a_wrong_value_is_one_line_with_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"BOOTDROP_{name}", value)
    (problem,) = problems()
    assert problem.startswith(f"BOOTDROP_{name}={value}: ")
    assert "allowed: " in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("vers=4.2", "the version is for BOOTDROP_NFS_VERSION"),
        ("nfsvers=3", "the version is for BOOTDROP_NFS_VERSION"),
        ("v3", "the version is for BOOTDROP_NFS_VERSION"),
        ("v4.1", "the version is for BOOTDROP_NFS_VERSION"),
        ("udp", "roots are served by TCP alone"),
        ("proto=udp", "roots are served by TCP alone"),
        ("proto=tcp6", "roots are served by TCP alone"),
    ],
)
def test_an_nfs_option_that_says_what_another_setting_does_is_told(
    monkeypatch: pytest.MonkeyPatch, word: str, reason: str
) -> None:
    monkeypatch.setenv("BOOTDROP_NFS_OPTIONS", f"hard,{word},rsize=65536")
    (problem,) = problems()
    assert f": not allowed here: {word}: {reason}; allowed: " in problem


def test_nfs_options_of_the_server_we_have_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    options = "soft,proto=tcp,tcp,timeo=600,mountport=20048,port=2049,nconnect=4"
    monkeypatch.setenv("BOOTDROP_NFS_OPTIONS", options)
    assert load().nfs_options == options


def test_hosts_are_words_in_the_environment_and_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = "52:54:00:12:34:5A=192.168.10.5  52:54:00:12:34:5b=192.168.10.6"
    hosts = (
        Host("52:54:00:12:34:5a", IPv4Address("192.168.10.5")),
        Host("52:54:00:12:34:5b", IPv4Address("192.168.10.6")),
    )
    file = tmp_path / "bootdrop.yaml"
    file.write_text(f"rarp_hosts: {words}\n")
    assert load(file).rarp_hosts == hosts
    monkeypatch.setenv("BOOTDROP_RARP_HOSTS", words)
    assert load().rarp_hosts == hosts
    assert load().model_dump()["rarp_hosts"] == " ".join(words.lower().split())


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTDROP_KEEP", "many")
    monkeypatch.setenv("BOOTDROP_RADVD", "maybe")
    assert sorted(line.partition("=")[0] for line in problems()) == [
        "BOOTDROP_KEEP",
        "BOOTDROP_RADVD",
    ]


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("BOOTDROP_INTERFCE", "BOOTDROP_INTERFACE"),
        ("BOOTDROP_LAYERS", "BOOTDROP_NFS_LAYERS"),
        ("BOOTDROP_LAYER_SIZE", "BOOTDROP_NFS_LAYER_SIZE"),
        ("BOOTDROP_STORE_SIZE", "BOOTDROP_NFS_STORE_SIZE"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, misspelt: str, nearest: str
) -> None:
    monkeypatch.setenv(misspelt, "512")
    assert problems() == (f"{misspelt}=512: no such setting; did you mean {nearest}?",)


def test_variables_of_compose_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTDROP_BOOT_DIR", "/srv/lab")
    load()


def test_a_wrong_line_of_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bootdrop.yaml"
    file.write_text("http_port: 99999\ninterfce: eth1\n")
    assert problems(file) == (
        f"{file}: http_port: 99999: not allowed here; allowed: 1 to 65535",
        f"{file}: interfce: eth1: no such setting; did you mean interface?",
    )


def test_a_file_that_is_not_yaml_is_named_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "bootdrop.yaml"
    file.write_text("http_port: [\n")
    (problem,) = problems(file)
    assert problem.startswith(f"{file}:2:1: not YAML: ")


def test_yaml_off_is_off(tmp_path: Path) -> None:
    file = tmp_path / "bootdrop.yaml"
    file.write_text("radvd: off\n")
    assert load(file).radvd == "off"


def test_the_longest_lease_is_not_under_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTDROP_LEASE_TIME", "3600")
    (problem,) = problems()
    assert problem.startswith("BOOTDROP_LEASE_TIME=3600: not allowed here; the longest lease")


def test_the_settings_file_that_ships_sets_nothing() -> None:
    assert load(CHECKOUT / "config/bootdrop.yaml").model_dump() == load().model_dump()


def test_env_example_is_as_generated() -> None:
    assert (CHECKOUT / settings_docs.ENV_EXAMPLE).read_text() == settings_docs.env_example()


def test_the_page_of_settings_is_as_generated() -> None:
    assert (CHECKOUT / settings_docs.SETTINGS_PAGE).read_text() == settings_docs.settings_page()
