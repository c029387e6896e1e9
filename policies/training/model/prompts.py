"""Prompts to tokens, with the answers that are known to them: what PPO answers anew.

All of a prompt is context, recorded tool results included: only what the policy samples behind it is learned
from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from policies.prompted import Known, Prompt
from policies.training.jobs import Tools
from policies.training.model.dataset import answer_tokens
from policies.training.model.rendering import Rendering, UnrenderableError
from policies.training.model.singles import Single
from policies.training.planning.shape import Lengths

REASONS = ("unfit", "repeated", "no_room")
"""Why a prompt is not asked: the chat template cannot show it; another one renders to the same tokens; it
leaves no room for an answer."""


@dataclass(frozen=True, slots=True)
class PromptRoom:
    """The most tokens of a prompt with its answer, and how many of them a fresh answer may take."""

    most: int
    new: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt's tokens, and the answers to it with their judge's reward (None: nobody judged it). `singles`
    are the same answers with which of their tokens are the assistant's own. `trace` is its event's number, 0
    where none is known.
    """

    ids: tuple[int, ...]
    rewards: Mapping[tuple[int, ...], float | None]
    singles: tuple[Single, ...]
    trace: int = 0
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class PreparedPrompts:
    """The prompts that can be asked, and how many cannot, by why."""

    prompts: list[Prompted]
    left_out: dict[str, int]
    room: PromptRoom
    words: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """All of it in one line."""
        said = {
            "unfit": f"unfit ({self.words.get('unfit', '')})",
            "repeated": "repeated",
            "no_room": f"without room for {self.room.new} new tokens in {self.room.most}",
        }
        total = len(self.prompts) + sum(self.left_out.values())
        parts = [f"{count} {said[why]}" for why, count in self.left_out.items() if count]
        return ", ".join([f"{len(self.prompts)} prompts of {total}", *parts])


def prepare(found: Sequence[Prompt], rendering: Rendering, room: PromptRoom) -> PreparedPrompts:
    """Tokenises the prompts. An answer that cannot be shown behind its prompt, or is too long, is none."""
    prepared = PreparedPrompts([], dict.fromkeys(REASONS, 0), room)
    seen: Counter[tuple[int, ...]] = Counter()
    for prompt in found:
        try:
            ids = tuple(rendering.encode(rendering.ask(prompt.prompt, prompt.tools)))
        except UnrenderableError as error:
            prepared.left_out["unfit"] += 1
            prepared.words.setdefault("unfit", f"event {prompt.trace}: {error}")
            continue
        seen[ids] += 1
        if len(ids) + room.new > room.most:
            prepared.left_out["no_room"] += 1
        elif seen[ids] > 1:
            prepared.left_out["repeated"] += 1
        else:
            prepared.prompts.append(_prompted(prompt, ids, rendering, room.most))
    return prepared


def lengths_of(prompts: Sequence[Prompted]) -> Lengths:
    """Measures the prompts, and the answers that are known to them."""
    answers = [len(single.answer) for prompt in prompts for single in prompt.singles]
    whole = [single.length for prompt in prompts for single in prompt.singles]
    return Lengths(
        pairs=len(prompts),
        tokens=sum(whole),
        longest=max([*whole, *(len(prompt.ids) for prompt in prompts)], default=0),
        prompt=fmean(len(prompt.ids) for prompt in prompts),
        answer=fmean(answers) if answers else 0.0,
    )


def _prompted(prompt: Prompt, ids: tuple[int, ...], rendering: Rendering, most: int) -> Prompted:
    rewards: dict[tuple[int, ...], float | None] = {}
    singles: list[Single] = []
    for known in prompt.answers:
        single = _single(prompt, known, ids, rendering)
        if single is None or single.length > most:
            continue
        tokens = tuple(single.answer)
        if tokens not in rewards:
            singles.append(single)
        if rewards.get(tokens) is None:
            rewards[tokens] = known.reward
    return Prompted(ids, rewards, tuple(singles), prompt.trace, prompt.tools)


def _single(prompt: Prompt, known: Known, ids: tuple[int, ...], rendering: Rendering) -> Single | None:
    """The answer up to its last own token; None where the template shows it, or the prompt, otherwise."""
    try:
        (shown,) = rendering.continuations(prompt.prompt, (known.answer,), prompt.tools)
        answer, mask = answer_tokens(rendering, shown, known.tokens, cut=known.truncated)
    except UnrenderableError:
        return None
    if tuple(rendering.encode(shown.prompt)) != ids:
        return None
    end = max(index for index, own in enumerate(mask) if own) + 1
    return Single(list(ids), answer[:end], mask[:end], good=True, weight=1.0)
