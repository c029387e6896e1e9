"""What a call costs: the configured price, else the list price, else unknown, which is not zero."""

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.base import Usage
from connectors.errors import FatalError

MILLION = 1_000_000
SAMPLE_TOKENS = 1_000


class PriceUnknownError(FatalError):
    """A budget is set and nobody knows what the model costs."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """US dollars per million tokens. Zero is a price."""

    input_per_million: float
    output_per_million: float

    def cost(self, usage: Usage) -> float:
        """US dollars."""
        return (
            usage.input_tokens * self.input_per_million + usage.output_tokens * self.output_per_million
        ) / MILLION


Tariffs = Mapping[str, Tariff | None]
"""The price of each configured judge; None: it is not known."""


def tariff(
    provider: str, model: str, *, base_url: str | None = None, configured: Tariff | None = None
) -> Tariff | None:
    """The configured price, else the list price of the provider at that address, else None.

    A model served elsewhere under a known name has no list price. The list is the one that genai-prices
    ships; it is not updated over the network. Prompt caching is ignored: the price is an upper bound.
    """
    if configured is not None:
        return configured
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    def price(tokens: Tokens) -> float:
        if base_url is None:
            return float(calc_price(tokens, model, provider_id=provider).total_price)
        return float(calc_price(tokens, model, provider_api_url=base_url).total_price)

    scale = MILLION / SAMPLE_TOKENS
    try:
        return Tariff(
            scale * price(Tokens(input_tokens=SAMPLE_TOKENS)),
            scale * price(Tokens(output_tokens=SAMPLE_TOKENS)),
        )
    except LookupError:
        return None


def required(name: str, model: str, found: Tariff | None, budget_usd: float | None) -> Tariff | None:
    """The tariff, or None where it is unknown and no budget needs it. Raises PriceUnknownError."""
    if found is None and budget_usd is not None:
        raise PriceUnknownError(
            f"judges.{name}.price: {model} is in no price list; under daily_budget_usd write its price "
            "(input_per_million, output_per_million; 0 for your own machine)"
        )
    return found
