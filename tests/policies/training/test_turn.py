"""Training and sampling never have one device at once, where it is taken in turns."""

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from daemon.children.child import Child
from policies.training.jobs import Progress, SampleJob, TrainJob
from policies.training.turn import SAMPLING, TRAINING, LockedError, held, holder, waits_for_turn
from tests.daemon.children.test_child import wait_for
from tests.policies.training.conftest import RECIPE, pair

HOLDS = """
import pathlib, sys, time
from policies.training.turn import held
with held(pathlib.Path(sys.argv[1]), "a training"):
    time.sleep(600)
"""
Seen = list[tuple[str, Progress]]


def test_what_is_done_in_a_turn_is_seen_until_it_ends(tmp_path: Path) -> None:
    """By anybody who looks, who takes no turn by looking; without a file nobody has it."""
    path = tmp_path / "state" / "device.lock"
    assert holder(path) == ""
    with held(path, TRAINING):
        assert holder(path) == TRAINING
        with pytest.raises(LockedError, match="a training"), held(path, SAMPLING, wait_s=0):
            pass
    assert holder(path) == ""
    with held(path, SAMPLING, wait_s=0):
        assert holder(path) == SAMPLING


def test_a_killed_process_has_no_turn(tmp_path: Path) -> None:
    """Whoever waits for it goes on, and was told for what he waited."""
    path = tmp_path / "device.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)]) as other:
        wait_for(lambda: holder(path) == TRAINING)
        told: list[str] = []

        def waiting(does: str) -> None:
            told.append(does)
            other.kill()

        with held(path, SAMPLING, waiting=waiting):
            assert told == [TRAINING]


def test_only_another_kind_of_job_is_waited_for() -> None:
    """Sampling that has the device itself does not wait for it."""
    assert waits_for_turn("", SAMPLING) == ""
    assert waits_for_turn(SAMPLING, SAMPLING) == ""
    assert waits_for_turn(TRAINING, SAMPLING) == (
        "a training has the device, and they take turns (training.turns)"
    )


@pytest.mark.training
def test_sampling_waits_until_the_training_has_ended(
    job_for: Callable[..., TrainJob], tmp_path: Path
) -> None:
    """By the order of events, on a processor that is taken in turns."""
    seen: Seen = []
    trained = threading.Event()

    def note(who: str, progress: Progress) -> None:
        seen.append((who, progress))
        if who == "train" and progress.event == "step":
            trained.set()

    turn = tmp_path / "device.lock"
    recipe = RECIPE.model_copy(update={"max_steps": 40_000})
    job = job_for(recipe=recipe, turn=turn, turns="always")
    training = Child(job, on_progress=partial(note, "train"), grace_s=120.0)
    sampling = Child(
        SampleJob(
            out=tmp_path / "sample", base_model=job.base_model, prompts=(pair(0).prompt,),
            max_new_tokens=4, device="cpu", turn=turn, turns="always",
        ),
        on_progress=partial(note, "sample"),
    )  # fmt: skip
    threads = [threading.Thread(target=training.run)]
    threads[0].start()
    assert trained.wait(300)
    threads.append(threading.Thread(target=sampling.run))
    threads[1].start()
    wait_for(lambda: ("sample", "waiting") in events(seen), 300)
    assert ("train", "done") not in events(seen)
    training.stop()
    for thread in threads:
        thread.join(300)
    order = events(seen)
    assert order.index(("train", "done")) < order.index(("sample", "ready"))
    notes = [progress.note for _, progress in seen if progress.event == "waiting"]
    assert set(notes) == {"a training has the device"}


def events(seen: Seen) -> list[tuple[str, str]]:
    return [(who, progress.event) for who, progress in seen]
