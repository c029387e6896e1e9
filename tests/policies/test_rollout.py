"""rollout.yaml as a value, and the file minus the quarantine."""

from typing import Any

import pytest
import yaml

from policies.rollout import (
    HEADER,
    Assignment,
    Noted,
    RolloutSpec,
    RolloutSpecError,
    WantedState,
    has_lost,
    last_good,
    parse,
    render,
    state_in_force,
    top_comments,
)

NAME = "support-agent-3f2c9a1b77d0"


def document(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "rlaifd/v1", "kind": "AdapterRollout", "spec": spec}


@pytest.mark.parametrize("stable", [NAME, None])
def test_what_is_rendered_parses_to_the_same(stable: str | None) -> None:
    """A rendered file names the same adapter when read, and ends with the document-end marker."""
    text = render(stable)
    assert parse(yaml.safe_load(text)) == RolloutSpec(stable=stable)
    assert text.endswith("\n...\n")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (document(canary=None), "spec.stable: is required and missing; write `stable: null`"),
        (document(stable=NAME, canary={"adapter": NAME, "share": 0.1}), "spec.canary: must be null"),
        (document(stable=NAME, share=0.1), "spec.share: must be 0: this version serves no canary"),
        (document(stable=NAME, share=False), "spec.share: must be 0"),
        (document(stable=NAME, stabel=NAME), "spec.stabel: unknown key"),
        (document(stable=NAME) | {"metadata": {}}, "metadata: unknown key"),
        (document(stable=NAME) | {"apiVersion": "rlaifd/v2"}, "apiVersion: Input should be 'rlaifd/v1'"),
        (document(stable=NAME) | {"kind": "Rollout"}, "kind: Input should be 'AdapterRollout'"),
        (document(stable="../../etc"), "spec.stable: is not the name of an adapter"),
        (document(stable=3), "spec.stable: Input should be a valid string"),
        ({}, "apiVersion: is required and missing"),
        (document(stable=NAME) | {"spec": None}, "spec: Input should be a valid"),
    ],
)
def test_a_slip_is_refused_in_one_line(raw: dict[str, Any], says: str) -> None:
    """Unknown keys, absent keys, other kinds and names that are paths are refused with the key's name."""
    with pytest.raises(RolloutSpecError) as caught:
        parse(raw)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_share_of_nothing_is_none() -> None:
    """A canary without a name and with no share may be written."""
    assert parse(document(stable=NAME, canary=None, share=0)) == RolloutSpec(stable=NAME)


def test_an_assignment_has_no_canary() -> None:
    """Whoever makes one: file, row, mirror and target have the same value."""
    assert Assignment(NAME, 3).then(None) == Assignment(None, 4)
    assert Assignment(NAME, 3).at(5) == Assignment(NAME, 5)
    assert (Assignment(NAME, 3).adapters, Assignment(None, 3).adapters) == ((NAME,), ())
    for canary, share in ((NAME, 0.0), (None, 0.1), (NAME, 0.1)):
        with pytest.raises(ValueError, match="this version serves none"):
            Assignment(NAME, 1, canary, share)


def test_comments_at_the_top_are_kept() -> None:
    """Only the comment lines above the first key are carried over."""
    text = "# owned by the agents team\n# ask in #agents\n" + render(None, comments="")
    assert top_comments(text) == "# owned by the agents team\n# ask in #agents\n"
    assert top_comments(render(None, comments="")) == ""
    assert top_comments(render(None)) == HEADER


@pytest.mark.parametrize(
    ("spec", "quarantined", "last_good", "wanted"),
    [
        (RolloutSpec(stable="b"), set(), "a", WantedState("b")),
        (RolloutSpec(stable=None), set(), "a", WantedState(None)),
        (RolloutSpec(stable="b"), {"b"}, "a", WantedState("a", "b is quarantined")),
        (RolloutSpec(stable="b"), {"a", "b"}, "a", WantedState(None, "b is quarantined")),
        (None, set(), "a", WantedState("a", "the file is not valid")),
        (None, {"a"}, "a", WantedState(None, "the file is not valid")),
        (None, set(), None, WantedState(None, "the file is not valid")),
    ],
)
def test_the_state_in_force_is_the_file_minus_the_quarantine(
    spec: RolloutSpec | None, quarantined: set[str], last_good: str | None, wanted: WantedState
) -> None:
    """A quarantined or unreadable wish leaves the last good state, else the base model."""
    assert state_in_force(spec, quarantined, last_good) == wanted


@pytest.mark.parametrize(
    ("quarantined", "foreign", "good"),
    [
        (set(), set(), "c"),
        ({"c"}, set(), "b"),
        (set(), {"c", "b"}, "c"),
        ({"c"}, {"b"}, "a"),
        ({"c"}, {"c", "b"}, "a"),
        ({"c", "b"}, {"a"}, None),
    ],
)
def test_the_last_good_one_is_the_newest_that_may_serve(
    quarantined: set[str], foreign: set[str], good: str | None
) -> None:
    """An adapter of another base model stays where it is in force, and nothing goes back to one."""
    found = last_good(["c", "b", "a"], in_force="c", quarantined=quarantined, foreign=foreign)
    assert found == good


def test_going_back_may_end_at_the_base_model() -> None:
    """It was in force as well, and it is what there is where nothing ever was."""
    assert last_good(["b", None, "a"], in_force="b", quarantined={"b"}, foreign=()) is None
    assert last_good([], in_force=None, quarantined=(), foreign=()) is None


@pytest.mark.parametrize(
    ("stable", "noted", "epoch", "lost"),
    [
        (NAME, Noted("now", 3), 3, False),
        (NAME, Noted("now", 3), 4, True),
        (NAME, Noted("before", 3), 4, False),
        (None, Noted("before", 3), 4, False),
        (None, Noted("now", 3), 4, True),
        (None, None, 0, False),
        (None, None, 4, True),
        (NAME, None, 4, False),
        (NAME, Noted("now", -1), 0, True),
    ],
)
def test_a_file_that_did_not_change_has_lost_to_what_was_decided_since(
    stable: str | None, noted: Noted | None, epoch: int, lost: bool
) -> None:
    """A change makes a new wish; where nothing was noted, what `init` writes is none."""
    spec = RolloutSpec(stable=stable)
    assert has_lost(spec, "now", noted=noted, epoch=epoch, decided=()) is lost
    if noted is None:
        assert has_lost(spec, "now", noted=None, epoch=epoch, decided={"now"}) is (epoch > 0)
