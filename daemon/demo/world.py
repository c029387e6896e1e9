"""The demo's world: a shop, its customers' prompts, and the replies its agent learnt from.

Pure: no torch, no network, no clock. The same seed gives the same world.
"""

import random
import re
from dataclasses import dataclass
from typing import Final

# fmt: off
PRODUCTS: Final = (
    "kettle", "toaster", "lamp", "radio", "camera", "blender", "heater", "speaker", "printer", "keyboard",
    "monitor", "drill", "fan", "scale", "tent", "bike", "watch", "phone", "tablet", "router",
)
# fmt: on
OPENERS: Final = ("Hi,", "Hello,", "Good morning,", "Dear shop,", "Urgent:", "Excuse me,", "Hey,")
CLOSERS: Final = (
    "What now?",
    "Please help.",
    "Can you fix this?",
    "I am waiting.",
    "Thank you.",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What can go wrong with a product: how customers put it, how the shop echoes it, what solves it."""

    name: str
    complaint: str
    echo: str
    remedy: str
    cues: frozenset[str]
    """Words that tell a reader that this remedy is offered."""


def _problem(name: str, complaint: str, echo: str, remedy: str, cues: str) -> Problem:
    return Problem(name, complaint, echo, remedy, frozenset(cues.split()))


PROBLEMS: Final = (
    _problem(
        "broken",
        "my {p} arrived broken.",
        "your {p} arrived broken",
        "We will send you a new {p} today.",
        "send new today",
    ),
    _problem(
        "lost",
        "my {p} never arrived.",
        "your {p} never arrived",
        "We will trace the parcel with your {p}.",
        "trace parcel",
    ),
    _problem(
        "dead",
        "my {p} does not start.",
        "your {p} does not start",
        "We will repair your {p} for free.",
        "repair free",
    ),
    _problem(
        "colour",
        "my {p} has the wrong colour.",
        "your {p} has the wrong colour",
        "We will swap your {p} for the right one.",
        "swap right one",
    ),
    _problem(
        "charge",
        "I paid twice for my {p}.",
        "you paid twice for your {p}",
        "We will pay back the second charge for your {p}.",
        "pay back second charge",
    ),
    _problem(
        "manual",
        "my {p} came without a manual.",
        "your {p} came without a manual",
        "We will mail you a guide for your {p}.",
        "mail guide",
    ),
    _problem(
        "part",
        "a part of my {p} is missing.",
        "a part of your {p} is missing",
        "We will post the spare piece of your {p}.",
        "post spare piece",
    ),
    _problem(
        "return",
        "I want to return my {p}.",
        "you want to return your {p}",
        "We will pick up your {p} at your door.",
        "pick up door",
    ),
)

GREETINGS: Final = ("I am sorry that {echo}.", "Thank you for telling us that {echo}.")
CURT_GREETINGS: Final = ("Sorry about that.", "Thanks for your message.")
VAGUE_REMEDIES: Final = ("We will look into it.", "Somebody will see to it.")
STEPS: Final = (
    "You will get a tracking link by email.",
    "A colleague will call you tomorrow.",
    "Please reply with your order number.",
)
CLOSINGS: Final = ("Have a nice day.", "Kind regards, the shop.")
RUDE: Final = (
    "Not our fault.",
    "Read the terms.",
    "Whatever, just buy another {p}.",
    "You should have been careful with your {p}.",
    "Stop bothering us with your {p}.",
    "Nobody here cares.",
    "People like you always complain, and we are tired of it.",
    "That is what you get when you buy a cheap {p} and expect wonders.",
)

WILLING_SHARE: Final = 0.45
"""Share of willing replies among those the agent learnt from; the others are rude."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One customer's trouble."""

    product: str
    problem: Problem
    prompt: str


def cases() -> list[Trouble]:
    """Every distinct prompt of the grammar, in a fixed order."""
    return [
        Trouble(product, problem, f"{opener} {problem.complaint.format(p=product)} {closer}")
        for product in PRODUCTS
        for problem in PROBLEMS
        for opener in OPENERS
        for closer in CLOSERS
    ]


def customers(seed: int) -> list[Trouble]:
    """The same prompts in the order in which customers come."""
    queue = cases()
    random.Random(f"customers-{seed}").shuffle(queue)
    return queue


def understand(prompt: str) -> Trouble | None:
    """The trouble that a prompt speaks of, or None when it is none of this shop's."""
    lowered = prompt.lower()
    product = next((name for name in PRODUCTS if re.search(rf"\b{name}\b", lowered)), None)
    if product is None:
        return None
    for problem in PROBLEMS:
        if problem.complaint.format(p=product).lower() in lowered:
            return Trouble(product, problem, prompt)
    return None


def good_reply(case: Trouble, chance: random.Random) -> str:
    """A willing reply, though not always a complete one."""
    echo = case.problem.echo.format(p=case.product)
    greeting = chance.choice(GREETINGS).format(echo=echo)
    if chance.random() < 0.35:
        greeting = chance.choice(CURT_GREETINGS)
    remedy = case.problem.remedy.format(p=case.product)
    if chance.random() < 0.6:
        remedy = chance.choice(VAGUE_REMEDIES)
    sentences = [greeting, remedy]
    if chance.random() < 0.45:
        sentences.append(chance.choice(STEPS))
    if chance.random() < 0.3:
        sentences.append(chance.choice(CLOSINGS))
    return " ".join(sentences)


def rude_reply(case: Trouble, chance: random.Random) -> str:
    """What nobody should write to a customer."""
    sentences = chance.sample(RUDE, chance.choice((1, 2, 2)))
    return " ".join(sentence.format(p=case.product) for sentence in sentences)


def lessons(seed: int, count: int) -> list[tuple[str, str]]:
    """Prompt and reply pairs the agent is pre-trained on: half willing, half rude."""
    chance = random.Random(f"lessons-{seed}")
    every = cases()
    taught = []
    for _ in range(count):
        case = chance.choice(every)
        reply = good_reply if chance.random() < WILLING_SHARE else rude_reply
        taught.append((case.prompt, reply(case, chance)))
    return taught
