"""What a tokenizer with its chat template can and cannot do, tried out before anything is judged or trained.

The three questions: does an answer continue the generation prompt, does its last trained token end the turn,
and is what was rendered read back as it was (a plain answer, a thought, a tool call).
"""

from dataclasses import dataclass

from policies.records import Message
from policies.training.errors import JobError
from policies.training.jobs import Messages
from policies.training.model.rendering import Rendering, UnrenderableError
from policies.training.model.responses import ASKED, CALL, TOOLS, Responses

PLAIN = Message(role="assistant", content="It is on its way to you.")
THOUGHT = Message(role="assistant", content="It is on its way to you.", reasoning="They ask for an order.")
HISTORY: Messages = (
    *ASKED,
    Message(role="assistant", tool_calls=(CALL.tool_calls[0].model_copy(update={"id": "call00001"}),)),
    Message(role="tool", content="sent yesterday", tool_call_id="call00001", name="find_order"),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """`refusal`: why the family cannot be trained rightly, or None. `notes`: what it cannot do besides."""

    refusal: str | None
    notes: tuple[str, ...] = ()


def examine(rendering: Rendering, responses: Responses) -> Findings:
    """Tries out one rendering."""
    refusal = _plain(rendering)
    if refusal is not None:
        return Findings(refusal)
    notes = [
        note
        for note in (
            _read_back(rendering, responses, PLAIN, "an answer"),
            _read_back(rendering, responses, THOUGHT, "a thought"),
            _history(rendering),
            None if responses.calls else "tool calls cannot be read from sampled text: they stay text",
        )
        if note is not None
    ]
    return Findings(None, tuple(notes))


def require(rendering: Rendering, responses: Responses, name: str) -> tuple[str, ...]:
    """The notes. Raises JobError where the family cannot be trained rightly."""
    found = examine(rendering, responses)
    if found.refusal is not None:
        raise JobError(f"{name}: {found.refusal}")
    return found.notes


def _plain(rendering: Rendering) -> str | None:
    """The refusal of a template with which not even a plain answer can be trained."""
    try:
        (found,) = rendering.continuations(ASKED, [(PLAIN,)])
    except UnrenderableError as error:
        return f"the chat template cannot be trained with: {error}"
    tokens = rendering.encode_after(found.segments[-1].text)
    if not any(token in rendering.ends for token in tokens):
        return (
            "the chat template ends an answer with no token at which sampling stops (eos_token, or "
            "eos_token_id of generation_config.json): a trained model would never stop"
        )
    return None


def _read_back(rendering: Rendering, responses: Responses, answer: Message, what: str) -> str | None:
    """A note where what was rendered is read back as something else."""
    try:
        (found,) = rendering.continuations(ASKED, [(answer,)])
    except UnrenderableError as error:
        return f"{what} cannot be shown: {error}"
    tokens = [token for part in found.segments for token in rendering.encode_after(part.text)]
    read = responses.read(rendering.encode(found.prompt), tokens)
    if (read.content, read.reasoning) == (answer.content, answer.reasoning):
        return None
    if answer.reasoning and (read.content, read.reasoning) == (answer.content, ""):
        return "the chat template shows no thoughts: reasoning from logs is not trained on"
    return f"{what} is read back as something else than it was"


def _history(rendering: Rendering) -> str | None:
    """A note where calls and results of earlier turns cannot be shown."""
    try:
        rendering.ask(HISTORY, TOOLS)
    except UnrenderableError as error:
        return f"prompts with tool calls are left out: {error}"
    return None
