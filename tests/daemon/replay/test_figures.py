"""`judge evaluate` on the reference data: every figure is the one counted in plain Python from the files."""

from pathlib import Path
from typing import Any

import pytest

from daemon.replay.evaluate import evaluated
from tests.daemon.replay.counted import OWN, counted

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "vicuna60"
FIGURES = (
    "parse_rate", "hard_flip_rate", "agreement_single", "agreement_consistent", "coverage",
    "agreement_certain", "agreement_split", "human_ceiling", "length_baseline", "self_preference_gap",
)  # fmt: skip

Both = tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def both() -> Both:
    """What the command gives each judge, and what is counted."""
    if not (DATA / "items.jsonl.gz").exists():
        pytest.skip(f"the reference data is not there: {DATA}")
    return {row["judge"]: row for row in evaluated(DATA)}, counted(DATA)


def test_each_judge_has_the_figures_and_their_intervals(both: Both) -> None:
    """Under the names that scripts depend on, and no others."""
    given, own = both
    assert set(given) == set(own) == set(OWN)
    names = {"judge", "verdicts", *FIGURES, *(f"{name}_interval" for name in FIGURES)}
    assert all(set(row) == names for row in given.values())


@pytest.mark.parametrize("name", ["verdicts", *FIGURES])
def test_a_figure_is_what_is_counted(both: Both, name: str) -> None:
    """For every judge."""
    given, own = both
    assert {judge: row[name] for judge, row in given.items()} == pytest.approx(
        {judge: row[name] for judge, row in own.items()}, rel=0, abs=1e-9
    )


@pytest.mark.parametrize("name", FIGURES)
def test_an_interval_is_that_of_another_bootstrap(both: Both, name: str) -> None:
    """Other draws of questions give bounds within 0.02, and the figure lies between them."""
    given, own = both
    for judge, row in given.items():
        assert row[f"{name}_interval"] == pytest.approx(own[judge][f"{name}_interval"], rel=0, abs=0.02)
        low, high = row[f"{name}_interval"]
        assert low <= row[name] <= high
        assert low < high
