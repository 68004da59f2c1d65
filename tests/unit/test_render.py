import pytest

from appliance.render import ipxe, menu_c32, screen


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain 'quoted' \"twice\" \\ %s", "plain 'quoted' \"twice\" \\ %s"),
        ("costs $5", "costs $5"),
        ("${net0/mac} and ${${x}}", "$(net0/mac} and $($(x}}"),
        ("a || b && c ; d", "a ${nothing}|| b ${nothing}&& c ${nothing}; d"),
        ("a||b ;c", "a||b ;c"),
        ("# none of it, #nor this", "${nothing}# none of it, ${nothing}#nor this"),
        ("--name -n", "--name -n"),
    ],
)
def test_ipxe_shows_a_text_and_runs_nothing_of_it(text: str, escaped: str) -> None:
    assert ipxe(text) == escaped


def test_no_letter_of_a_label_becomes_a_key_of_menu_c32() -> None:
    assert menu_c32("^a b^") == "?a b?"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert screen("short") == "short"
    shortened = screen("a" * 150 + "z" * 50 + " (6.1)")
    assert len(shortened) == 68
    assert shortened.startswith("a" * 33 + "...z")
    assert shortened.endswith("z (6.1)")
