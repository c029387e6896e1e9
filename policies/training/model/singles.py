"""Single answers to tokens: which of them can be learned from, and why the others cannot."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from policies.answers import Answer
from policies.training.model.dataset import answer_tokens
from policies.training.model.rendering import Rendering, UnrenderableError

REASONS = ("weightless", "unfit", "repeated", "too_long")
"""Why an answer is not learned from: its weight is 0; the chat template cannot show it; the same answer to
the same prompt is there already; it is longer than the recipe or the model takes."""


@dataclass(frozen=True, slots=True)
class Single:
    """One answer as tokens. The mask is 1 where the token is the assistant's own."""

    prompt: list[int]
    answer: list[int]
    mask: list[int]
    good: bool
    weight: float

    @property
    def length(self) -> int:
        """Tokens of the whole sequence."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class LearnableSingles:
    """The answers that can be learned from, and how many cannot, by reason, with one's own words."""

    examples: list[Single]
    left_out: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    words: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """All of it in one line."""
        good = sum(example.good for example in self.examples)
        kinds = f"{len(self.examples)} answers ({good} good, {len(self.examples) - good} bad)"
        parts = [kinds, *(f"{count} {why}" for why, count in self.left_out.items())]
        reasons = "; ".join(f"{why}: {words}" for why, words in self.words.items())
        return ", ".join(parts) + (f" ({reasons})" if reasons else "")


def prepare(answers: Sequence[Answer], rendering: Rendering, max_length: int) -> LearnableSingles:
    """Tokenises the answers; what cannot be learned from is counted out with its reason.

    An answer of weight 0 is left out, not carried along: beside others it would be part of their batch.
    """
    prepared = LearnableSingles([])
    seen: Counter[tuple[object, ...]] = Counter()
    for answer in answers:
        if answer.weight == 0:
            prepared.left_out["weightless"] += 1
            continue
        try:
            example = tokenise(answer, rendering)
        except UnrenderableError as error:
            prepared.left_out["unfit"] += 1
            prepared.words.setdefault("unfit", f"candidate {answer.candidate}: {error}")
            continue
        key = (tuple(example.prompt), tuple(example.answer), example.good)
        seen[key] += 1
        if seen[key] > 1:
            prepared.left_out["repeated"] += 1
        elif example.length > max_length:
            prepared.left_out["too_long"] += 1
            prepared.words.setdefault("too_long", f"{example.length} tokens, and {max_length} is the most")
        else:
            prepared.examples.append(example)
    return prepared


def tokenise(answer: Answer, rendering: Rendering) -> Single:
    """One answer as tokens, behind the prompt as sampling sees it.

    Raises UnrenderableError where the chat template cannot show it, or it has no token to learn.
    """
    (shown,) = rendering.continuations(answer.prompt, (answer.answer,), answer.tools)
    ids, mask = answer_tokens(rendering, shown, answer.tokens, cut=answer.truncated)
    prompt = rendering.encode(shown.prompt)
    return Single(prompt=prompt, answer=ids, mask=mask, good=answer.good, weight=answer.weight)


def balanced(examples: Sequence[Single]) -> list[Single]:
    """The same with the rarer kind, good or bad, weighing as much as the other in sum. One kind alone stays
    as it is.
    """
    sums = {kind: sum(each.weight for each in examples if each.good is kind) for kind in (True, False)}
    if not all(sums.values()):
        return list(examples)
    most = max(sums.values())
    return [replace(each, weight=each.weight * most / sums[each.good]) for each in examples]
