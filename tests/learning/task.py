"""The support task: what customers of a web shop ask for, and what the agent is told to do about it.

Pure: the same seed gives the same requests. Only the words of the world are here; who judges an answer, and
by what, is in modules that do not know each other.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policies.records import Message, digest

SYSTEM: Final = (
    "You are the support agent of a web shop. "
    "Answer in one or two short, polite sentences and name the order number."
)
# fmt: off
ITEMS: Final = (
    "kettle", "toaster", "lamp", "radio", "camera", "blender", "heater", "speaker", "printer", "keyboard",
    "monitor", "drill", "tent", "jacket", "watch", "phone", "tablet", "router", "backpack", "chair",
)
# fmt: on
REQUESTS: Final = {
    "refund": ("Can I get a refund for the {item}?", "I want my money back for the {item}."),
    "exchange": ("Can I exchange the {item} for another colour?", "Please exchange my {item}."),
    "cancel": ("Please cancel the {item}.", "Can I still cancel my order of the {item}?"),
    "address": (
        "I moved. Can you change the delivery address of the {item}?",
        "Please send the {item} to my new address.",
    ),
    "invoice": ("I need an invoice for the {item}.", "Where do I find the invoice for the {item}?"),
    "delivery": ("When will the {item} be delivered?", "The {item} has not arrived. Where is my parcel?"),
    "damage": ("The {item} arrived damaged.", "My {item} came with a crack. It is damaged."),
    "warranty": (
        "Is the {item} still under warranty?",
        "My {item} stopped working. Does the warranty cover it?",
    ),
    "return": ("How do I return the {item}?", "I do not like the {item} and want to return it."),
    "payment": ("I was charged twice for the {item}.", "Did my payment for the {item} go through?"),
    "manual": ("The {item} came without a manual.", "Can you send me the manual of the {item}?"),
    "gift": ("Can you gift wrap the {item}?", "The {item} is a gift. Can you wrap it?"),
}
"""Per topic, the ways in which customers put it."""
FORMS: Final = (
    "{request} My order number is {order}.",
    "Order {order}: {request}",
    "Hello, order {order}. {request}",
    "{request} It is order {order}.",
    "Hi, I ordered under number {order}. {request}",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One customer's message, and what it is about."""

    topic: str
    item: str
    order: str
    text: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The conversation that the agent answers."""
        return (Message(role="system", content=SYSTEM), Message(role="user", content=self.text))


def requests(seed: int) -> Iterator[Request]:
    """Customers, no order number twice. Topics take turns, so that any stretch has all of them."""
    chance = random.Random(f"learn-{seed}")
    numbers = chance.sample(range(10_000, 99_999), 80_000)
    topics = list(REQUESTS)
    for index, number in enumerate(numbers):
        if index % len(topics) == 0:
            chance.shuffle(topics)
        topic, item = topics[index % len(topics)], chance.choice(ITEMS)
        said = chance.choice(REQUESTS[topic]).format(item=item)
        text = chance.choice(FORMS).format(request=said, order=number)
        yield Request(topic, item, str(number), text)


def task_digest() -> str:
    """SHA-256 of everything that shapes a request: answers to another task's requests are other answers."""
    return digest([SYSTEM, ITEMS, REQUESTS, FORMS])
