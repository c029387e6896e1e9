"""Near-copies share a number of their sketches, other texts do not, and the cost is linear."""

import random
import time

import pytest

from policies.likeness import BANDS, sketch_of

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, words: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def alike(one: list[str], other: list[str]) -> bool:
    return bool(set(sketch_of([" ".join(one)])) & set(sketch_of([" ".join(other)])))


def with_changes(words: list[str], changes: int, seed: int) -> list[str]:
    """So many words, at random places, are others: each takes three runs of words with it."""
    changed = list(words)
    for at in random.Random(seed).sample(range(len(words)), changes):
        changed[at] = f"changed{seed}-{at}"
    return changed


def test_a_form_letter_with_another_number_is_a_near_copy() -> None:
    """One word of two hundred, in 50 letters."""
    assert all(alike(text(seed), with_changes(text(seed), 1, seed)) for seed in range(50))


def test_texts_that_differ_in_a_tenth_of_their_words_are_none() -> None:
    """Half of their runs are others: 50 letters, of which at most one is taken for a near-copy."""
    assert sum(alike(text(seed), with_changes(text(seed), 30, seed)) for seed in range(50)) <= 1


def test_other_texts_are_other() -> None:
    """None of 50 texts out of the same words shares a number with another."""
    sketches = [set(sketch_of([" ".join(text(seed))])) for seed in range(50)]
    assert len(set.union(*sketches)) == 50 * BANDS


def test_case_spacing_and_marks_do_not_count() -> None:
    """Nor where one part ends and the next begins."""
    assert sketch_of(["Where is my parcel?", "On its way!"]) == sketch_of(
        ["where IS  my parcel on", "its way"]
    )


@pytest.mark.parametrize(("parts", "numbers"), [([], 0), (["", " "], 0), (["one"], BANDS), (["?!"], BANDS)])
def test_short_texts(parts: list[str], numbers: int) -> None:
    """Nothing is like nothing; one word, or marks alone, are a text."""
    assert len(sketch_of(parts)) == numbers


def test_the_numbers_are_the_same_everywhere() -> None:
    """They are stored, and compared with those of another day and machine."""
    assert sketch_of(["a fixed text for the record"])[:2] == ("aa317ae2e43aeccc", "983ee0e33c121204")


def test_the_cost_is_linear_and_bounded() -> None:
    """Eight times the words cost at most twelve times the time; beyond the bound no more of them count."""

    def cost(words: int) -> float:
        parts = [" ".join(f"w{number}" for number in range(words))]
        best = 1e9
        for _ in range(9):
            start = time.process_time()
            sketch_of(parts)
            best = min(best, time.process_time() - start)
        return best

    sketch_of(["to load the library"])
    assert cost(16_000) <= 12 * cost(2000)
    many = [f"w{number}" for number in range(30_000)]
    assert sketch_of([" ".join(many)]) == sketch_of([" ".join(["other", *many[10_000:]])])
