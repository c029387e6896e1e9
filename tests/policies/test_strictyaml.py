"""YAML that people write is what they meant, or an error."""

from pathlib import Path

import pytest

from policies import library, strictyaml
from policies.judging.constitution import Constitution
from policies.strictyaml import LARGEST, StrictYamlError
from tests.growth import LINEAR, growth


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", "yes"), ("on", "on"), ("off", "off"), ("No", "No"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("010", "010"), ("2026-01-01", "2026-01-01"), ("0b11", "0b11"), ("=", "="), ("<<", "<<"),
        ("true", True), ("False", False), ("null", None), ("0", 0), ("-7", -7), ("+7", 7), ("0o17", 15),
        ("0x1F", 31), ("1e3", 1000.0), ("1.5e-3", 0.0015), (".5", 0.5), ("5.", 5.0), ("-.inf", float("-inf")),
        ("1e", "1e"), ("0x", "0x"), ("1.2.3", "1.2.3"), ("'true'", "true"), ("0" * 40, "0" * 40),
    ],
)  # fmt: skip
def test_plain_words_are_those_of_yaml_1_2(written: str, meant: object) -> None:
    """No truth, date, octal or time is made of a text; numbers stay numbers."""
    found = strictyaml.read(f"a: {written}\n")["a"]
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: key 'a' is written twice"),
        ("a:\n", "line 1, column 1: `a` has no value"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than 32 levels"),
        ("a: " + "9" * 5000, "put such a value in quotes"),
        ("a: !!python/name:os.system x\n", "could not determine a constructor"),
    ],
)
def test_what_is_none_of_ours_is_one_line(text: str, said: str) -> None:
    """With its place where that is known."""
    with pytest.raises(StrictYamlError, match=r"^[^\n]*$") as caught:
        strictyaml.read(text)
    assert said in str(caught.value)


def test_a_document_for_judges_is_read_like_a_configuration(tmp_path: Path) -> None:
    """The same bounds of size and depth: a constitution that somebody made endless is one line."""
    path = tmp_path / "ours.yaml"
    for text, said in (
        ("name: x\n" + "#" * LARGEST, f"longer than {LARGEST} characters"),
        ("[" * 5_000, "nested more than 32 levels"),
        ("name:\nprinciples: []\n", "`name` has no value"),
    ):
        path.write_text(text)
        with pytest.raises(library.LibraryError, match=said):
            library.load("constitutions", str(path), Constitution)


@pytest.mark.parametrize("unit", ["k{}: 1e3\n", "k{}: yes\n", "k{}: 1:30\n", "k{}: +.5e+5x\n"])
def test_reading_costs_no_more_than_the_length(unit: str) -> None:
    """Eight times the words are at most twelve times the work, whichever of the patterns they try."""

    def read(size: int) -> None:
        assert len(strictyaml.read("".join(unit.format(number) for number in range(size)))) == size

    assert growth(read, 500) < LINEAR
