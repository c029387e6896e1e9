"""What the stages ask of the policy's model: sampled answers, and two policies side by side.

Both run in a child process. One at a time: two copies of a model may not fit where one does.
"""

import asyncio
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from connectors.base import Sampler
from connectors.errors import TransientError
from daemon.children import Child, ChildFailedError
from daemon.config import TrainingConfig
from daemon.errors import AdapterRefusedError
from daemon.store.candidates import Prompt
from policies.policy import PolicySpec
from policies.records import Sampled
from policies.training.jobs import CompareJob, CompareResult, SampleJob, SampleResult

R = TypeVar("R", SampleResult, CompareResult)


class PolicyWork:
    """Runs sampling and comparing jobs. `stop` ends the one under way.

    `adapter_path` answers the directory of an adapter that verifies; it raises AdapterRefusedError.
    """

    def __init__(
        self,
        *,
        spec: PolicySpec,
        training: TrainingConfig,
        directory: Path,
        adapter_path: Callable[[str], Path],
        endpoint: Sampler | None = None,
    ) -> None:
        self._spec = spec
        self._training = training
        self._directory = directory
        self._adapter_path = adapter_path
        self._endpoint = endpoint
        self._turn = threading.Lock()
        self._child: Child[Any] | None = None
        self._stopping = False

    def sample(
        self, prompts: Sequence[Prompt], *, count: int, adapter: str | None, seed: int
    ) -> Sequence[Sequence[Sampled]]:
        """`count` answers to each prompt from the policy with an adapter (None: the base model).

        Raises TransientError where the child failed: the prompts stay unsampled and are tried again; and
        AdapterRefusedError for an adapter that does not verify.
        """
        if self._endpoint is not None:
            messages = [prompt.messages for prompt in prompts]
            tools = [prompt.tools for prompt in prompts]
            return asyncio.run(self._endpoint.sample(messages, count, tools=tools))
        with self._directory_of_its_own() as out:
            job = SampleJob(
                **self._common(out, prompts, seed),
                adapter=None if adapter is None else self._adapter_path(adapter),
                count=count,
            )
            try:
                return self._run(Child(job, stall_s=self._training.stall_s)).answers
            except ChildFailedError as error:
                raise TransientError(f"sampling from the policy: {error}") from error

    def compare(
        self, prompts: Sequence[Prompt], *, candidate: str, stable: str | None, seed: int
    ) -> CompareResult:
        """One answer of each policy to every prompt, and how far the two are apart.

        A child that failed is a result with its reason, and so is an adapter that does not verify.
        """
        with self._directory_of_its_own() as out:
            try:
                job = CompareJob(
                    **self._common(out, prompts, seed),
                    candidate=self._adapter_path(candidate),
                    stable=None if stable is None else self._adapter_path(stable),
                )
                return self._run(Child(job, stall_s=self._training.stall_s))
            except (ChildFailedError, AdapterRefusedError) as error:
                state: Literal["stopped", "failed"] = "stopped" if self._stopping else "failed"
                return CompareResult(state=state, reason=str(error))

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

    @contextmanager
    def _directory_of_its_own(self) -> Iterator[Path]:
        """A job's directory, removed when the job has answered; the log of a failed one is in the error."""
        out = self._directory / uuid.uuid4().hex
        try:
            yield out
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def _common(self, out: Path, prompts: Sequence[Prompt], seed: int) -> dict[str, Any]:
        sampling = self._spec.sampling
        return {
            "out": out,
            "base_model": self._spec.base_model,
            "revision": self._spec.revision,
            "seed": seed,
            "threads": self._training.threads,
            "device": self._training.device,
            "bf16": self._training.bf16,
            "prompts": tuple(prompt.messages for prompt in prompts),
            "tools": tuple(prompt.tools for prompt in prompts),
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_new_tokens,
        }
