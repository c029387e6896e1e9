"""Prompts to learn on by answering them anew: a JSONL file named by its own SHA-256, as a snapshot is.

The first line is the header, every further line one prompt of the log with the answers that are known to it
and what judges gave them. A snapshot of pairs does as well: `of_pairs` says what it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from policies import snapshot
from policies.records import Frozen, Message, Tokens
from policies.snapshot import Pair, SnapshotError

FORMAT: Literal["rlaifd-prompts-1"] = "rlaifd-prompts-1"


class PromptsHeader(Frozen):
    """The first line of the file."""

    format: Literal["rlaifd-prompts-1"] = FORMAT
    prompts: NonNegativeInt
    policy: str


class Known(Frozen):
    """An answer that somebody gave, with the points (0 to 10) that a judge gave it; None: nobody judged it.
    Tokens are those that were sampled, where they are known.
    """

    answer: tuple[Message, ...] = Field(min_length=1)
    reward: float | None = Field(default=None, ge=0, le=10)
    tokens: Tokens | None = None
    truncated: bool = False


class Prompt(Frozen):
    """A prompt, up to where the policy answers. `trace` is its number in the store, 0 where it has none."""

    trace: NonNegativeInt = 0
    prompt: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[dict[str, Any], ...] = ()
    answers: tuple[Known, ...] = ()

    @property
    def asked(self) -> str:
        """What is asked, as a digest of messages and tools."""
        return snapshot.asked(self.prompt, self.tools)


class Prompts(Frozen):
    """A file as read back. `id` is its SHA-256."""

    id: str
    policy: str
    prompts: tuple[Prompt, ...]


def write(directory: Path, policy: str, prompts: Sequence[Prompt]) -> tuple[str, Path]:
    """Writes `<directory>/<id>.jsonl` durably and returns (id, path). The same prompts give the same file."""
    header = PromptsHeader(prompts=len(prompts), policy=policy)
    return snapshot.write_lines(directory, [each.model_dump(mode="json") for each in (header, *prompts)])


def read(path: Path, expected: str | None = None) -> Prompts:
    """Reads and checks a file of prompts, or the prompts of a snapshot of pairs.

    Raises SnapshotError where the file is cut, changed or neither.
    """
    if not holds_prompts(path):
        pairs = snapshot.read(path, expected)
        return Prompts(id=pairs.id, policy=pairs.policy, prompts=tuple(of_pairs(pairs.pairs)))
    name, lines = snapshot.read_lines(path, expected)
    header = snapshot.parse(PromptsHeader, path, 1, lines[0])
    found = tuple(snapshot.parse(Prompt, path, at, line) for at, line in enumerate(lines[1:], start=2))
    if len(found) != header.prompts:
        raise SnapshotError(f"{path}: holds {len(found)} prompts where its header says {header.prompts}")
    return Prompts(id=name, policy=header.policy, prompts=found)


def holds_prompts(path: Path) -> bool:
    """Whether the file begins as one of prompts. False also where it cannot be read."""
    return snapshot.begins_as(path, FORMAT)


def of_pairs(pairs: Sequence[Pair]) -> list[Prompt]:
    """Each prompt once, in the order of the pairs, with both answers of all its pairs."""
    found: dict[str, Prompt] = {}
    for pair in pairs:
        answers = (
            Known(answer=pair.chosen, reward=pair.chosen_reward, tokens=pair.chosen_tokens),
            Known(
                answer=pair.rejected,
                reward=pair.rejected_reward,
                tokens=pair.rejected_tokens,
                truncated=pair.rejected_truncated,
            ),
        )
        own = Prompt(prompt=pair.prompt, tools=pair.tools)
        before = found.get(own.asked, own)
        found[own.asked] = before.model_copy(update={"answers": (*before.answers, *answers)})
    return list(found.values())


def replayed(
    messages: Sequence[Message], output: Sequence[Message]
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Prompt and answer of an event: where the policy would speak next, and what it said there.

    An agent that called tools said its answer after the last result that the log has. Calls and results up to
    there are replayed as they were recorded: they are the prompt's, and nothing of them is sampled or learned
    from. What a call made now would have come back with, nobody knows.
    """
    results = [at for at, message in enumerate(output) if message.role == "tool"]
    start = results[-1] + 1 if results and results[-1] + 1 < len(output) else 0
    return (*messages, *output[:start]), tuple(output[start:])
