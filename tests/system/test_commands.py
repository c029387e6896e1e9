"""What commands answer when something is wrong: one line on stderr and a defined exit code."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from policies import snapshot as snapshots
from tests.connectors.decoders.events import native
from tests.daemon.configuration import TEXT, write
from tests.policies.training.conftest import pair
from tests.system.command import RLAIFD, Done, rlaifd

WAITING = TEXT.replace("api_key: k}", "api_key: k, attempts: 1}")


def one_line(done: Done, code: int) -> str:
    """The only line a command said, with its exit code."""
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.strip().splitlines()
    return line


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    """An error of the system is a line, not a traceback."""
    (tmp_path / "file").write_text("")
    assert one_line(rlaifd("init", "file", cwd=tmp_path), 1) == "rlaifd: file: File exists"


def test_a_missing_configuration_names_the_way_out(tmp_path: Path) -> None:
    """Somebody who stands in the wrong directory is told."""
    assert "rlaifd.yaml: no such file: `rlaifd init`" in one_line(rlaifd("status", cwd=tmp_path), 2)


def test_an_unknown_decoder_is_a_usage_error(tmp_path: Path) -> None:
    """The known ones are listed."""
    (tmp_path / "log.jsonl").write_text(json.dumps(native(1)))
    done = rlaifd("decode", "log.jsonl", "--decoder", "foo", cwd=tmp_path)
    assert "unknown decoder 'foo': use auto or one of" in one_line(done, 2)


@pytest.mark.parametrize("command", ["check", "run", "ingest", "judge", "curate", "train", "evaluate"])
def test_no_work_begins_with_what_check_refuses(tmp_path: Path, command: str) -> None:
    """One line and exit 2; a look at the state is not refused."""
    write(tmp_path, TEXT.replace("path: logs", "path: logs, decoder: foo"))
    arguments = ["rlaifd.yaml"] if command == "ingest" else []
    said = one_line(rlaifd(command, *arguments, cwd=tmp_path), 2)
    assert "sources.0.decoder: unknown decoder 'foo'" in said
    if command == "check":
        assert rlaifd("status", cwd=tmp_path).code == 0


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A configuration whose judges are not there, with a trace to be judged."""
    write(tmp_path, WAITING)
    (tmp_path / "log.jsonl").write_text(json.dumps(native(1)) + "\n")
    assert rlaifd("ingest", "log.jsonl", cwd=tmp_path).code == 0
    return tmp_path


@pytest.mark.training
def test_what_is_missing_is_said_before_it_is_paid_for(waiting: Path, tiny_model: Path) -> None:
    """`check` and `status` print the same lines, and an export without pairs says why there are none."""
    write(waiting, WAITING.replace("base_model: base", f"base_model: {tiny_model}"))
    checked, looked = rlaifd("check", cwd=waiting), rlaifd("status", cwd=waiting)
    lines = checked.out.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("to the gate  about "))
    assert "  gate prompts " in checked.out
    assert "\n".join(lines[start:]) in looked.out
    exported = rlaifd("review", "export", "pairs.jsonl", cwd=waiting)
    assert exported.code == 0
    assert exported.out.startswith("wrote 0 pairs to pairs.jsonl\nno pair to label: ")
    assert "  audit prompts " in exported.out


def test_judge_does_not_pass_off_an_outage_as_done(waiting: Path) -> None:
    """Exit 1, with how many wait and why."""
    done = rlaifd("judge", cwd=waiting)
    assert done.code == 1
    assert "rlaifd: small: 1 judgements wait: judge small: " in done.err
    assert "127.0.0.1" in done.said


def test_judge_is_refused_while_judging_is_halted(waiting: Path) -> None:
    """Exit 3, as for every command that a halt stops."""
    assert rlaifd("halt", "judging", "-r", "a test", cwd=waiting).code == 0
    done = rlaifd("judge", cwd=waiting)
    assert (done.code, done.out) == (3, "")
    assert done.said == "rlaifd: judging is halted: a test; `rlaifd resume judging` lets it go on"


def test_an_empty_reason_is_no_reason(waiting: Path) -> None:
    """Exit 2 and nothing is halted: the ledger would say nothing of why."""
    done = rlaifd("halt", "judging", "-r", " ", cwd=waiting)
    assert done.code == 2
    assert "may not be empty" in done.err
    assert rlaifd("resume", "judging", "-r", "look", cwd=waiting).out == "judging was not halted\n"


@pytest.mark.training
def test_a_base_model_that_cannot_be_trained_is_told_by_check_and_by_the_training(tmp_path: Path) -> None:
    """In the same words: exit 2 before anything is paid, exit 1 from the run, and what needs none works."""
    write(tmp_path)
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    _, snapshot = snapshots.write(tmp_path / "given", "support-agent", [pair(1)])
    told = f"{tmp_path / 'base'}: weights as pickles and no model.safetensors"
    assert f"policy.base_model: {told}" in one_line(rlaifd("check", cwd=tmp_path), 2)
    done = rlaifd("train", "--snapshot", str(snapshot), cwd=tmp_path)
    assert done.code == 1
    assert f" failed: {told}" in done.out
    assert len(done.out.strip().splitlines()) == 1
    assert rlaifd("reconcile", cwd=tmp_path).out.startswith("in force: base model")


def test_a_daemon_that_is_told_to_stop_while_it_starts_ends_well(tmp_path: Path) -> None:
    """By 0, as later: whoever stops a service that was just started did nothing wrong."""
    os.mkfifo(tmp_path / "rlaifd.yaml")
    process = subprocess.Popen([str(RLAIFD), "run"], cwd=tmp_path, stderr=subprocess.PIPE)
    with (tmp_path / "rlaifd.yaml").open("w"):  # opens when the other end does: it reads its configuration
        process.terminate()
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, b"")


def test_a_method_that_cannot_be_followed_is_told_in_one_line(tmp_path: Path) -> None:
    """An unknown one with those that there are; PPO without a released reward model with the way to one."""
    write(tmp_path)
    assert rlaifd("rewards", cwd=tmp_path).out == (
        "no reward model is published: `rlaifd train --method reward`\n"
    )
    _, snapshot = snapshots.write(tmp_path / "given", "support-agent", [pair(1)])
    train = ("train", "--snapshot", str(snapshot), "--method")
    assert "'dpo', 'reward', 'ppo', 'sft', 'kto'" in one_line(rlaifd(*train, "rlhf", cwd=tmp_path), 2)
    said = one_line(rlaifd(*train, "ppo", cwd=tmp_path), 2)
    assert said.startswith("rlaifd: method ppo needs a released reward model, and there is none: run `rlaifd")
