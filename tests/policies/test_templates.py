"""A template is what texts of one pattern have in common, and matches nothing else."""

import random

import pytest

from policies.templates import Template, fits, wider
from tests.growth import LINEAR, growth

RULES = "Answer in one sentence. Never promise a refund. Ask for the order number first."


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        (("a b c",), "a b c", True),
        (("a b c",), "a b d", False),
        (("",), "", True),
        (("",), "a", False),
        (("a", "c"), "a b c", True),
        (("a", "c"), "a c", True),
        (("a", "c"), "a b cc", False),
        (("a", "a"), "a", False),
        (("", "c"), "b c", True),
        (("", "c"), "c", True),
        (("a", ""), "a b", True),
        (("a", ""), "ab", False),
        (("a", "c", "e"), "a b c d e", True),
        (("a", "c", "e"), "a e", False),
        (("a", "b", "b"), "a b", False),
        (("", "b", ""), "b", True),
    ],
)
def test_a_text_fits_where_it_differs_in_slots_alone(
    template: Template, text: str, *, expected: bool
) -> None:
    """Fixed parts are whole words, in order, none used twice."""
    assert fits(template, text) is expected


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        ((f"You help Ann. {RULES}",), f"You help Bob Smith. {RULES}", ("You help", RULES)),
        ((f"{RULES} Facts: one two",), f"{RULES} Facts: three", (f"{RULES} Facts:", "")),
        (("You help", RULES), f"You assist Bob. {RULES}", ("You", RULES)),
        ((f"Ann: {RULES}",), f"Bob: {RULES}", ("", RULES)),
        ((RULES,), "Write poems about the sea and nothing else.", None),
        (("",), "a", None),
        (("a",), "", None),
    ],
)
def test_what_differs_becomes_a_slot(template: Template, text: str, expected: Template | None) -> None:
    """Names, facts, an end; None where hardly anything is common."""
    assert wider(template, text) == expected


@pytest.mark.parametrize("seed", range(20))
def test_what_was_widened_fits_all_that_it_was_learnt_from(seed: int) -> None:
    """Whatever stands in the slots; and a text without the fixed words does not fit."""
    chance = random.Random(seed)
    texts = []
    for _ in range(12):
        name, facts = (" ".join(chance.choices("abcdefgh", k=chance.randint(0, 6))) for _ in range(2))
        texts.append(" ".join(f"You help {name} . {RULES} Facts: {facts} Be brief and kind .".split()))
    template: Template = (texts[0],)
    for text in texts[1:]:
        if not fits(template, text):
            found = wider(template, text)
            assert found is not None
            template = found
    assert all(fits(template, text) for text in texts)
    assert not fits(template, texts[0].replace("refund", "discount"))
    assert sum(len(part.split()) for part in template) >= len(RULES.split())


@pytest.mark.parametrize("word", ["a ", "a b ", "b a a "])
def test_hostile_texts_cost_no_more_than_their_length(word: str) -> None:
    """Repeated words are where matching and aligning would take the square of it."""

    def work(size: int) -> object:
        text = (word * size)[:size].strip()
        return fits(("a a a b", "b a a a b", "c"), text), wider((text,), f"b {text} a")

    assert growth(work, 20_000) < LINEAR
