"""Policies that are no use to anybody: what they score shows what the checker cannot be talked into.

A learned policy must do better than every one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final

from tests.learning.checker import check
from tests.learning.task import Request

Policy = Callable[[Request], str]

STRAWMEN: Final[Mapping[str, Policy]] = {
    "nothing": lambda _request: "",
    "one polite sentence": lambda _request: "Thank you for your message, we are happy to help you.",
    "one polite sentence for one topic": lambda _request: "We are sorry, your refund is on its way.",
    "the order number": lambda request: request.order,
    "a form letter with the order number": (
        lambda request: f"Thank you for your message about order {request.order}, we are happy to help you."
    ),
    "the customer's message": lambda request: request.text,
    "the customer's message, politely": lambda request: f"Thank you. {request.text}",
    "everything at once": (
        lambda request: (
            f"We are sorry about order {request.order}: refund, exchange, cancellation, address, invoice, "
            "delivery, damage, warranty, return, payment, manual and gift wrap are all possible."
        )
    ),
}


def best(requests: Sequence[Request]) -> tuple[str, float]:
    """The strawman with the highest mean score on these requests, and the score."""
    scores = {
        name: fmean(check(request, policy(request)).score for request in requests)
        for name, policy in STRAWMEN.items()
    }
    return max(scores.items(), key=lambda item: item[1])
