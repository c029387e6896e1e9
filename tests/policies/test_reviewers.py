"""One person is one reviewer, and each is shown with how far others and judges agree."""

import pytest

from policies.reviewers import MOST, NoReviewerError, Said, agreements, normal, reviewer

LOOKALIKES = ["ann", "ann ", "\u00a0Ann", "ANN", "\uff41nn", "A\u0301nn".replace("A\u0301", "a")]


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_nobody_means_makes_no_other_name(name: str) -> None:
    """Width, case and blanks; composed or not is one name too."""
    assert reviewer(name) == "ann"


def test_composition_and_folding_end_in_one_form() -> None:
    """An accent typed in two ways is one, and is not none; a name's normal form is its own."""
    assert normal("A\u0301nn") == normal("\u00c1nn") == "\u00e1nn" != normal("ann")
    assert normal("Jos\u00e9  de\tla  Cruz") == "jos\u00e9 de la cruz"
    for name in ("STRASSE", "stra\u00dfe", "\u0130lker", "\ufb01n", "\u1e9e"):
        assert normal(normal(name)) == normal(name)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b", "x" * 101, "\ufdfa" * 1000, "\u200b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Nothing, control characters, what nobody sees, and what grows too long when it is folded."""
    with pytest.raises(NoReviewerError, match="must be a name"):
        reviewer(name)


def test_the_number_of_names_is_bounded() -> None:
    """Those known go on; a further one is refused where nobody is listed."""
    known = [f"r{number}" for number in range(MOST)]
    assert reviewer("R3", known=known) == "r3"
    assert reviewer("new", known=known[1:]) == "new"
    with pytest.raises(NoReviewerError, match=f"{MOST} reviewers gave labels already"):
        reviewer("new", known=known)
    assert reviewer("New", listed=["new"], known=known) == "new"


def test_agreement_is_on_what_both_decided() -> None:
    """Ties count for nobody; of three the other two must agree before one can agree with them."""
    labels = [
        *(Said("ann", pair, "a") for pair in range(4)),
        *(Said("bob", pair, "a") for pair in range(3)),
        Said("bob", 3, "b"),
        Said("eve", 0, "b"),
        Said("eve", 9, "tie"),
    ]
    ann, bob, eve = agreements(labels, {"large": {0: "a", 1: "b", 2: None, 9: "a"}})
    assert (ann.reviewer, ann.labels, ann.others) == ("ann", 4, (2, 3))
    assert (bob.others, bob.judges) == ((2, 3), {"large": (1, 2)})
    assert (eve.labels, eve.others, eve.judges) == (2, (0, 1), {"large": (0, 1)})
