"""Prices: written ones first, list prices next, and an unknown price is never zero."""

import pytest

from connectors.base import Usage
from connectors.errors import FatalError
from connectors.judges.prices import PriceUnknownError, Tariff, required, tariff


def test_a_configured_price_wins() -> None:
    """Also a zero."""
    assert tariff("openai", "gpt-5-mini", configured=Tariff(0, 0)) == Tariff(0, 0)


def test_a_known_model_has_its_list_price() -> None:
    """US dollars per million tokens."""
    found = tariff("openai", "gpt-5-mini")
    assert found is not None
    assert 0 < found.input_per_million < found.output_per_million
    assert tariff("openai", "gpt-5-mini", base_url="https://api.openai.com/v1") == found


@pytest.mark.parametrize(
    ("model", "base_url"),
    [("our-own-model", None), ("gpt-5-mini", "http://127.0.0.1:8000/v1")],
)
def test_an_unknown_price_is_none(model: str, base_url: str | None) -> None:
    """Unknown models, and known names served elsewhere."""
    assert tariff("openai", model, base_url=base_url) is None


def test_a_budget_needs_a_price() -> None:
    """One line that names the key to write."""
    with pytest.raises(PriceUnknownError, match=r"judges\.small\.price: own-model") as caught:
        required("small", "own-model", None, 5.0)
    assert isinstance(caught.value, FatalError)
    assert required("small", "own-model", None, None) is None
    assert required("small", "own-model", Tariff(0, 0), 0.0) == Tariff(0, 0)


def test_the_cost_counts_both_directions() -> None:
    """Tokens times price."""
    assert Tariff(2.0, 10.0).cost(Usage(500_000, 100_000)) == pytest.approx(2.0)
