"""The policy's work in a child: refusals come back, a death is told from a failure, and logs stay."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from connectors.errors import TransientError
from daemon.children.policy import KEPT, PolicyWork, SamplerDiedError
from daemon.config.settings import TrainingConfig
from daemon.store.candidates import StoredPrompt
from policies.policy import PolicySpec
from policies.records import Message, Split
from policies.training.turn import SAMPLING, TRAINING, TURN, held
from tests.daemon.children.test_child import script

SPEC = PolicySpec(name="test", family="tiny", base_model="base")
HI = (Message(role="user", content="hi"),)
PROMPTS = [StoredPrompt(number, f"p{number}", "", Split.TRAIN, HI) for number in range(2)]
ANSWERS = """
message = {"role": "assistant", "content": "yes"}
answer(state="done", answers=[[], [{"messages": [message], "truncated": True}]], refused={"0": "too long"})
"""
FAILS = "answer(state='failed', reason='no such model')"
DIES = "print('about to die', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
BREAKS = "raise RuntimeError('CUDA out of memory')"


def work(directory: Path, command: Callable[[Path], Sequence[str]], stall_s: float = 600.0) -> PolicyWork:
    return PolicyWork(
        spec=SPEC,
        training=TrainingConfig(stall_s=stall_s),
        directory=directory / "jobs",
        adapter_path=lambda name: directory / name,
        command=command,
    )


def sample(made: PolicyWork) -> object:
    return made.sample(PROMPTS, count=1, adapter=None, seed=0)


def left(directory: Path) -> list[Path]:
    return sorted((directory / "jobs").glob("*"))


def test_answers_and_refusals_come_back(tmp_path: Path) -> None:
    """Each at its prompt, with what is known of it; the job's directory is gone."""
    found = work(tmp_path, script(ANSWERS)).sample(PROMPTS, count=1, adapter=None, seed=0)
    assert found.refused == {0: "too long"}
    assert [[answer.truncated for answer in row] for row in found.answers] == [[], [True]]
    assert left(tmp_path) == []


@pytest.mark.parametrize("body", [DIES, BREAKS, "time.sleep(600)"], ids=["killed", "crashed", "hung"])
def test_a_death_is_told_from_a_failure(tmp_path: Path, body: str) -> None:
    """Whether of sampling or of comparing; a child that can say why has not died of a prompt."""
    stall_s = 0.3 if "sleep" in body else 600.0
    made = work(tmp_path, script(body), stall_s)
    with pytest.raises(SamplerDiedError, match="the sample child"):
        sample(made)
    with pytest.raises(SamplerDiedError, match="the compare child"):
        made.compare(PROMPTS, candidate="a", stable=None, seed=0)
    failing = work(tmp_path, script(FAILS))
    with pytest.raises(TransientError, match="no such model") as caught:
        sample(failing)
    assert not isinstance(caught.value, SamplerDiedError)
    result = failing.compare(PROMPTS, candidate="a", stable=None, seed=0)
    assert (result.state, "no such model" in result.reason) == ("failed", True)


def test_the_log_that_an_error_names_is_there(tmp_path: Path) -> None:
    """With what the child said last; of many failures the newest few stay."""
    made = work(tmp_path, script(DIES))
    for _ in range(KEPT + 2):
        with pytest.raises(SamplerDiedError) as caught:
            sample(made)
    named = re.search(r"\(log: (.+)\)", str(caught.value))
    assert named is not None
    assert "about to die" in Path(named[1]).read_text()
    assert len(left(tmp_path)) == KEPT
    assert Path(named[1]).parent in left(tmp_path)


def test_what_killed_daemons_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    """The number in a directory's name says whose job works there."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        for number, name in enumerate(
            [f"{os.getpid()}-old", "2a-odd", "nameless", f"{2**22 + 1}-gone", f"{other.pid}-busy"]
        ):
            made = tmp_path / "jobs" / name
            made.mkdir(parents=True)
            at = time.time() - 3600 + 60 * number if "busy" not in name else time.time()
            os.utime(made, (at, at))
        work(tmp_path, script(ANSWERS)).sweep()
        assert {path.name for path in left(tmp_path)} == {f"{other.pid}-busy"}
        other.kill()


def test_of_what_failed_the_newest_stay_and_of_what_was_cut_off_none(tmp_path: Path) -> None:
    """Prompts do not lie about: what a killed daemon left goes at the next start."""
    made = work(tmp_path, script(FAILS))
    for _ in range(KEPT + 2):
        with pytest.raises(TransientError):
            sample(made)
    failed = left(tmp_path)
    for number in range(12):
        (tmp_path / "jobs" / f"{2**22 + 1}-cut{number}").mkdir()
    work(tmp_path, script(ANSWERS)).sweep()
    assert left(tmp_path) == failed
    assert len(failed) == KEPT
    work(tmp_path / "new", script(ANSWERS)).sweep()  # there is no such directory yet


def test_a_stopped_child_accuses_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    """Also where it had to be killed: the daemon is going down."""
    made = work(tmp_path, script("made = 1; answer(state='stopped', reason='asked to stop')"))
    made.stop()
    with pytest.raises(TransientError, match="the daemon is stopping") as caught:
        sample(made)
    assert not isinstance(caught.value, SamplerDiedError)
    assert made.compare(PROMPTS, candidate="a", stable=None, seed=0).state == "stopped"
    assert left(tmp_path) == []


def test_sampling_waits_while_a_training_has_the_device(tmp_path: Path) -> None:
    """Which is seen before a child is started; its own child on the device is nothing to wait for."""
    made = work(tmp_path, script(ANSWERS))
    assert made.waits_for() == ""
    with held(tmp_path / TURN, TRAINING):
        assert made.waits_for() == "a training has the device, and they take turns (training.turns)"
    with held(tmp_path / TURN, SAMPLING):
        assert made.waits_for() == ""
