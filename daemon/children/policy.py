"""What the stages ask of the policy's model: sampled answers, and two policies side by side.

Both run in a child process. One at a time: two copies of a model may not fit where one does. Each job has a
directory of its own, which is removed when it has answered; those of the newest jobs that failed stay, for
people to read their logs. They hold what was asked, as the store does. What a killed daemon left is swept at
the next start: nothing uses it, and it says nothing.
"""

import asyncio
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from connectors.base import Sampler, Samples
from connectors.errors import TransientError
from daemon.children.alive import another_lives
from daemon.children.child import Child, ChildDiedError, ChildFailedError, command
from daemon.config.settings import TrainingConfig
from daemon.errors import AdapterRefusedError
from daemon.store.candidates import StoredPrompt
from policies.policy import PolicySpec
from policies.snapshot import Pair
from policies.training.jobs import (
    CompareJob,
    CompareResult,
    GradeJob,
    GradeResult,
    RewardFiles,
    SampleJob,
    SampleResult,
)
from policies.training.turn import SAMPLING, TURN, holder, waits_for_turn

R = TypeVar("R", SampleResult, CompareResult, GradeResult)

KEPT = 3
"""Directories of failed jobs that are kept."""
FAILED = "FAILED"
"""Marks the directory of a job that failed; one without it was cut off."""


class SamplerDiedError(TransientError):
    """The process that answered prompts died. One of them may be at fault (`daemon.children.trials`)."""


class PolicyWork:
    """Runs sampling and comparing jobs. `stop` ends the one under way. `command` is how a job is run.

    The file of the turns on the device is beside `directory`. `adapter_path` answers the directory of an
    adapter that verifies; it raises AdapterRefusedError.
    """

    def __init__(
        self,
        *,
        spec: PolicySpec,
        training: TrainingConfig,
        directory: Path,
        adapter_path: Callable[[str], Path],
        endpoint: Sampler | None = None,
        command: Callable[[Path], Sequence[str]] = command,
    ) -> None:
        self._spec = spec
        self._training = training
        self._directory = directory
        self._adapter_path = adapter_path
        self._endpoint = endpoint
        self._command = command
        self._turn = threading.Lock()
        self._open: set[Path] = set()
        self._child: Child[Any] | None = None
        self._stopping = False

    def sample(
        self, prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int
    ) -> Samples:
        """`count` answers to each prompt from the policy with an adapter (None: the base model).

        Raises TransientError where the child failed: the prompts stay unsampled and are tried again;
        SamplerDiedError where it could not even say why; and AdapterRefusedError for an adapter that does not
        verify.
        """
        if self._endpoint is not None:
            messages = [prompt.messages for prompt in prompts]
            tools = [prompt.tools for prompt in prompts]
            return asyncio.run(self._endpoint.sample(messages, count, tools=tools))
        path = None if adapter is None else self._adapter_path(adapter)
        try:
            with self._directory_of_its_own() as out:
                job = SampleJob(**self._common(out, prompts, seed), adapter=path, count=count)
                result = self._run(Child(job, stall_s=self._training.stall_s, command=self._command))
        except ChildFailedError as error:
            kind = SamplerDiedError if self._died(error) else TransientError
            raise kind(f"sampling from the policy: {error}") from error
        return Samples(result.answers, result.refused)

    def compare(
        self, prompts: Sequence[StoredPrompt], *, candidate: str, stable: str | None, seed: int
    ) -> CompareResult:
        """One answer of each policy to every prompt, and how far the two are apart.

        A child that failed is a result with its reason, and so is an adapter that does not verify. Raises
        SamplerDiedError where the child could not even say why.
        """
        try:
            paths = {
                "candidate": self._adapter_path(candidate),
                "stable": None if stable is None else self._adapter_path(stable),
            }
            with self._directory_of_its_own() as out:
                job = CompareJob(**self._common(out, prompts, seed), **paths)
                return self._run(Child(job, stall_s=self._training.stall_s, command=self._command))
        except (ChildFailedError, AdapterRefusedError) as error:
            if self._died(error):
                raise SamplerDiedError(f"comparing the policies: {error}") from error
            state: Literal["stopped", "failed"] = "stopped" if self._stopping else "failed"
            return CompareResult(state=state, reason=str(error))

    def grade(self, pairs: Sequence[Pair], reward: RewardFiles) -> GradeResult:
        """By how many points the reward model puts each pair's chosen answer ahead.

        Raises TransientError where the child failed.
        """
        try:
            with self._directory_of_its_own() as out:
                job = GradeJob(**self._where(out), reward=reward, pairs=tuple(pairs))
                return self._run(Child(job, stall_s=self._training.stall_s, command=self._command))
        except ChildFailedError as error:
            raise TransientError(f"grading by a reward model: {error}") from error

    def waits_for(self) -> str:
        """What has the device that sampling needs, in a line; "" where nothing does."""
        if self._endpoint is not None:
            return ""
        return waits_for_turn(holder(self._directory.parent / TURN), SAMPLING)

    def stop(self) -> None:
        """Asks a child under way to end, for good. Returns at once."""
        self._stopping = True
        child = self._child
        if child is not None:
            child.stop()

    def _run(self, child: Child[R]) -> R:
        with self._turn:
            if self._stopping:
                raise ChildFailedError("the daemon is stopping")
            self._child = child
            try:
                return child.run()
            finally:
                self._child = None

    def _died(self, error: Exception) -> bool:
        """Whether the child died by itself: one that we stop may have to be killed."""
        return isinstance(error, ChildDiedError) and not self._stopping

    @contextmanager
    def _directory_of_its_own(self) -> Iterator[Path]:
        """A job's directory. It is removed when the job has answered or was stopped; that of a failed one
        stays, and an older one goes.
        """
        out = self._directory / f"{os.getpid()}-{uuid.uuid4().hex}"
        self._open.add(out)
        failed = False
        try:
            yield out
        except ChildFailedError:
            failed = not self._stopping
            if failed and out.is_dir():
                (out / FAILED).touch()
            raise
        finally:
            if not failed:
                shutil.rmtree(out, ignore_errors=True)
            self._open.discard(out)
            self.sweep()

    def sweep(self) -> None:
        """Removes what no job works in: all that was cut off, and of those that failed all but the newest."""
        try:
            found = [(path.stat().st_mtime, path) for path in self._directory.glob("*/")]
        except FileNotFoundError:  # another process swept at the same time
            return
        idle = [path for at, path in sorted(found, reverse=True) if not self._used(path, at)]
        failed = [path for path in idle if (path / FAILED).exists()]
        for path in {*idle} - {*failed[:KEPT]}:
            shutil.rmtree(path, ignore_errors=True)

    def _used(self, path: Path, touched: float) -> bool:
        """Whether a job of this or of another living process works in the directory. Its name says which."""
        number = path.name.partition("-")[0]
        return path in self._open or (number.isdigit() and another_lives(int(number), touched))

    def _common(self, out: Path, prompts: Sequence[StoredPrompt], seed: int) -> dict[str, Any]:
        sampling = self._spec.sampling
        return {
            **self._where(out),
            "seed": seed,
            "prompts": tuple(prompt.messages for prompt in prompts),
            "tools": tuple(prompt.tools for prompt in prompts),
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_new_tokens,
        }

    def _where(self, out: Path) -> dict[str, Any]:
        return {
            "out": out,
            "base_model": self._spec.base_model,
            "revision": self._spec.revision,
            "threads": self._training.threads,
            "device": self._training.device,
            "bf16": self._training.bf16,
            "turn": self._directory.parent / TURN,
            "turns": self._training.turns,
        }
