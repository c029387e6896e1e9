"""A bound that is broken is told with the figure, and nothing measured counts as kept."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.soak import __main__ as soak
from tests.soak.bounds import BoundsBrokenError, within
from tests.test_architecture import HEAVY, loaded_by


@pytest.mark.parametrize("value", [0.05, 1.0, 10.0])
def test_what_is_inside_is_answered(value: float) -> None:
    """Both ends belong to it."""
    assert within({"kl": value, "other": 1e9}, {"kl": (0.05, 10.0)}) == {"kl": value, "other": 1e9}


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"kl": 0.0001}, "kl is 0.0001, not in 0.05 to 10"),
        ({"kl": 11.0}, "kl is 11, not in 0.05 to 10"),
        ({"kl": float("nan")}, "kl is nan, not in 0.05 to 10"),
        ({}, "kl was not measured"),
    ],
)
def test_what_is_outside_is_told(figures: dict[str, float], said: str) -> None:
    """With its bounds, and all figures beside."""
    with pytest.raises(BoundsBrokenError, match=said) as caught:
        within(figures, {"kl": (0.05, 10.0)})
    assert caught.value.figures is figures


def part(name: str, value: float) -> ModuleType:
    made = ModuleType(name)
    made.run = lambda: within({f"{name}_figure": value}, {f"{name}_figure": (0.0, 1.0)})  # type: ignore[attr-defined]
    return made


def test_a_broken_bound_fails_the_run_and_keeps_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 naming part and figure; the other part runs, and soak.json holds both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(soak, "parts", lambda: {"one": part("one", 2.0), "two": part("two", 0.5)})
    assert soak.main([]) == 1
    assert "failed: one: one_figure is 2, not in 0 to 1" in capsys.readouterr().out
    assert json.loads((tmp_path / "soak.json").read_text()) == {"one_figure": 2.0, "two_figure": 0.5}
    assert soak.main(["two"]) == 0
    assert json.loads((tmp_path / "soak.json").read_text()) == {"two_figure": 0.5}


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and the parts that there are."""
    assert soak.main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert "no part 'nothing'" in said
    assert "recipes-real" in said


def test_parts_are_light_to_list() -> None:
    """No part loads torch before it runs: the work is a child's."""
    assert set(soak.parts()) >= {"chaos", "recipes-real", "several"}
    assert not loaded_by("from tests.soak.__main__ import parts; parts()") & HEAVY
