"""Conversations of an agent with tools, as real agents log them: what chat templates must render."""

from dataclasses import dataclass
from typing import Any

from policies.records import Message, ToolCall, canonical


def function(name: str, **properties: str) -> dict[str, Any]:
    """A tool's definition in the shape of OpenAI's chat requests, with a type for each property."""
    shape = {key: {"type": kind, "description": f"the {key}"} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": shape, "required": list(shape)[:1]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Does {name}.", "parameters": parameters},
    }


TOOLS = (
    function("lookup_order", id="string", qty="integer"),
    function("refund_order", id="string", reason="string", parts="object"),
    function("list_orders"),
)


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def agent(text: str = "", *calls: ToolCall, thought: str = "") -> Message:
    return Message(role="assistant", content=text, reasoning=thought, tool_calls=calls)


def call(name: str, number: int, **arguments: Any) -> ToolCall:
    """A call with an id of nine alphanumeric characters, which every family takes."""
    return ToolCall(name=name, arguments=arguments, id=f"call{number:05d}")


def result(text: str, number: int | None, name: str | None = None) -> Message:
    """What the tool answered to that call; None: the log keeps no id."""
    reference = None if number is None else f"call{number:05d}"
    return Message(role="tool", content=text, tool_call_id=reference, name=name)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt, an answer to it, and the tools that the agent had."""

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = TOOLS

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.prompt + self.answer


RULES = system("You work for Zebra Outdoor.")
ASKED = user("Where is my parcel 7?")
FOUND = call("lookup_order", 1, id="7")
SEEN = result("scanned in Linz", 1)
AGAIN = user("And parcel 8?")
SAYS = agent("It left Graz on Monday.")

CONVERSATIONS: dict[str, Conversation] = {
    "plain": Conversation((ASKED,), (SAYS,), ()),
    "system": Conversation((RULES, ASKED), (SAYS,), ()),
    "tools on offer": Conversation((RULES, ASKED), (SAYS,)),
    "no system prompt": Conversation((ASKED,), (SAYS,)),
    "history of a call": Conversation((RULES, ASKED, agent("", FOUND), SEEN), (SAYS,)),
    "later question": Conversation(
        (RULES, ASKED, agent("", FOUND), SEEN, SAYS, AGAIN), (agent("Parcel 8 is lost."),)
    ),
    "two calls at once": Conversation(
        (
            RULES,
            ASKED,
            agent("", FOUND, call("refund_order", 2, id="8", reason="torn")),
            SEEN,
            result("refund booked", 2),
        ),
        (SAYS,),
    ),
    "calls in turn": Conversation(
        (RULES, ASKED, agent("", FOUND), SEEN, agent("", call("list_orders", 2)), result("7 and 8", 2)),
        (SAYS,),
    ),
    "call after a result": Conversation(
        (RULES, ASKED, agent("", FOUND), SEEN), (agent("", call("list_orders", 2)),)
    ),
    "answer is a call": Conversation((RULES, ASKED), (agent("", FOUND),)),
    "answer is two calls": Conversation(
        (RULES, ASKED), (agent("", FOUND, call("refund_order", 2, id="8", reason="torn")),)
    ),
    "answer is text and a call": Conversation((RULES, ASKED), (agent("Let me look.", FOUND),)),
    "text and a call in the history": Conversation(
        (RULES, ASKED, agent("Let me look.", FOUND), SEEN), (SAYS,)
    ),
    "answer goes on after a result": Conversation((RULES, ASKED), (agent("", FOUND), SEEN, SAYS)),
    "answer with a thought": Conversation(
        (RULES, ASKED), (agent("It left Graz on Monday.", thought="Seven is the small one."),), ()
    ),
    "call with a thought": Conversation((RULES, ASKED), (agent("", FOUND, thought="I must look first."),)),
    "thought in the history": Conversation(
        (RULES, ASKED, agent("It left Graz.", thought="Seven is the small one."), AGAIN),
        (agent("Parcel 8 is lost."),),
        (),
    ),
    "result without an id": Conversation(
        (RULES, ASKED, agent("", FOUND), result("scanned in Linz", None, "lookup_order")), (SAYS,)
    ),
    "result without id or name": Conversation(
        (RULES, ASKED, agent("", FOUND), result("scanned in Linz", None)), (SAYS,)
    ),
    "arguments of differing shapes": Conversation(
        (
            RULES,
            ASKED,
            agent("", FOUND),
            SEEN,
            agent("", call("lookup_order", 2, id="7", qty=2)),
            result("two of them", 2),
            agent("", call("list_orders", 3)),
            result("7 and 8", 3),
        ),
        (SAYS,),
    ),
    "nested arguments": Conversation(
        (RULES, ASKED),
        (agent("", call("refund_order", 1, id="7", parts={"tent": [1, 2], "pole": {"broken": True}})),),
    ),
    "unicode": Conversation(
        (RULES, user("Wo ist meine Sendung für Jürgen 包裹 🙂?")),
        (agent("", call("refund_order", 1, id="7", reason="Zelt zerrissen — 破了 🙁")),),
    ),
    "empty argument": Conversation((RULES, ASKED), (agent("", call("refund_order", 1, id="7", reason="")),)),
    "two questions in a row": Conversation((RULES, ASKED, AGAIN), (SAYS,), ()),
    "result is JSON": Conversation(
        (
            RULES,
            ASKED,
            agent("", FOUND),
            result(canonical({"place": "Graz", "days": [1, 2]}).decode(), 1),
        ),
        (SAYS,),
    ),
}
