from __future__ import annotations

from pathlib import Path

import pytest

from rootfs_builder.recipe import (
    ARTICLE_PACKAGES,
    Recipe,
    RecipeError,
    check_name,
    name_of,
    read,
)

SHIPPED = sorted((Path(__file__).parents[3] / "rootfs-builder" / "recipes").glob("*.yaml"))
FEDORA = """from: dnf
release: 43
repositories:
  - url: http://mirror.example.org/fedora/
    gpgkey: fedora.asc
"""


def recipe(folder: Path, text: str, name: str = "mine") -> Recipe:
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return read(file)


def fault(folder: Path, text: str) -> str:
    with pytest.raises(RecipeError) as raised:
        recipe(folder, text)
    return str(raised.value)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_recipe_that_ships_is_one(file: Path) -> None:
    assert read(file).title


def test_five_lines_are_enough_and_install_what_the_article_does(tmp_path: Path) -> None:
    assert recipe(tmp_path, FEDORA).wanted == ARTICLE_PACKAGES


def test_a_release_stays_as_it_is_typed(tmp_path: Path) -> None:
    assert recipe(tmp_path, FEDORA.replace("43", "8.10")).release == "8.10"


@pytest.mark.parametrize(
    ("source", "release", "database"),
    [
        ("dnf", "43", "/usr/lib/sysimage/rpm"),
        ("dnf", "rawhide", "/usr/lib/sysimage/rpm"),
        ("dnf", "9", "/var/lib/rpm"),
        ("dnf", "8.10", "/var/lib/rpm"),
        ("dnf", "10.1", "/usr/lib/sysimage/rpm"),
        ("zypper", "15.6", "/usr/lib/sysimage/rpm"),
    ],
)
def test_the_database_lies_where_the_release_looks_for_it(
    tmp_path: Path, source: str, release: str, database: str
) -> None:
    text = FEDORA.replace("43", release).replace("dnf", source)
    assert recipe(tmp_path, text).database == database


def test_words_and_lists_are_the_same(tmp_path: Path) -> None:
    listed = recipe(tmp_path, FEDORA + "packages: [bash, vim]\nformats: [nfs]\n")
    assert recipe(tmp_path, FEDORA + "packages: bash vim\nformats: nfs\n") == listed


def test_a_command_line_may_hold_what_kernels_take(tmp_path: Path) -> None:
    line = 'a.b="c d" e=$f,g#h quiet'
    assert recipe(tmp_path, f"{FEDORA}cmdline: '{line}'\n").cmdline == line


@pytest.mark.parametrize("share", ["clone", "ro", "rw"])
def test_a_root_is_shared_as_its_recipe_says(tmp_path: Path, share: str) -> None:
    assert recipe(tmp_path, f"{FEDORA}share: {share}\n").share == share
    assert recipe(tmp_path, FEDORA).share is None


def test_an_unknown_key_names_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    said = fault(tmp_path, FEDORA + "\npakages: [bash]\n")
    assert said == "mine.yaml:7: unknown key 'pakages'; did you mean `packages:`?"


def test_an_unknown_key_of_a_repository_is_told_too(tmp_path: Path) -> None:
    said = fault(tmp_path, FEDORA.replace("gpgkey", "gpg-key"))
    assert said == "mine.yaml:5: unknown key 'gpg-key'; did you mean `gpgkey:`?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml: empty"),
        ("- bash", "mine.yaml:1: a recipe is `key: value` lines"),
        ("release: 43", "mine.yaml:1: `from:` is missing"),
        ("from: rpm", "mine.yaml:1: from: Input should be"),
        ("from: dnf", "needs `repositories:`"),
        ("from: debootstrap", "needs `release:`"),
        ("from: tar", "`tar:` names the file"),
        (FEDORA.replace("    gpgkey: fedora.asc\n", ""), "a repository has no gpgkey"),
        (FEDORA.replace("fedora.asc", "https://example.org/key"), "proves nothing"),
        (FEDORA.replace("fedora.asc", "../keys/fedora.asc"), "leads out of the folder"),
        (FEDORA.replace("fedora.asc", "/etc/shadow"), "is absolute"),
        (FEDORA.replace("http://", "file://"), "is no http:// or https:// address"),
        (FEDORA + "packages: [--setopt=x]", "is no package's name"),
        (FEDORA + "packages: ['a b']", "is no package's name"),
        (FEDORA + "files: ../../etc", "leads out of the folder"),
        (FEDORA + "files: {/../etc/passwd: x}", "begins with / and has no .."),
        (FEDORA + "root_password: secret", "is no hash"),
        (FEDORA + "formats: []", "`formats:` is empty"),
        (FEDORA + "keep: -1", "mine.yaml:6: keep: "),
        (FEDORA + "hostname: 'a\n\n  b'", "is no host name"),
        (FEDORA + "cmdline: quiet ${x}", "mine.yaml:6: cmdline: printable ASCII is taken"),
        (FEDORA + "cmdline: quiet && reboot", "mine.yaml:6: cmdline: printable ASCII is taken"),
        (FEDORA + 'cmdline: "a\\nb"', "mine.yaml:6: cmdline: printable ASCII is taken"),
        (FEDORA + "init: /bin/a;b", "is no program's path"),
        (FEDORA + "share: copy", "mine.yaml:6: share: Input should be 'clone', 'ro' or 'rw'"),
        ("from: dnf\nfrom: tar", "mine.yaml:2: from is there twice"),
        ("from: &a dnf\nrelease: *a", "mine.yaml:1: anchors and aliases"),
        ("from: " + "[" * 10_000, "nested deeper than 20 levels"),
        ("from: [", "no YAML"),
        ("from: !!python/object/apply:os.system [x]", "from: Input should be"),
        ("x" * 300_000, "longer than 256 KiB"),
        ("from: \x00", "no YAML"),
        ('from: "\\UFFFFFFFF"', "mine.yaml: no YAML"),
        ('from: "\\U00110000"', "mine.yaml: no YAML"),
        ('from: tar\nrun: "\\0"', "mine.yaml:2: \\0 and"),
        ('from: tar\nfiles: {"/\\uD800": x}', "mine.yaml:2: \\0 and"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    line = fault(tmp_path, text)
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["fedora", "my root 2", "a_b-c.d"])
def test_a_name_may_have_spaces(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", " x", "x ", ".x", "..", "a/b", "a\nb", "a" * 65, "ä"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="is no name for a root"):
        check_name(name)


def test_only_yaml_files_that_show_are_recipes() -> None:
    names = ["a.yaml", "b.yml", ".c.yaml", "d.yaml~", "e.asc", "f.yaml.swp"]
    assert [name_of(Path(name)) for name in names] == ["a", "b", None, None, None, None]
