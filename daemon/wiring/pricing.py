"""What a configured judge's calls cost."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from connectors.judges.prices import PriceUnknownError, Tariff, Tariffs, required, tariff
from daemon.config.hosts import is_loopback
from daemon.config.judges import ChatJudgeConfig, LocalJudgeConfig
from daemon.errors import ConfigError
from daemon.log import get

log = get("judge")

FREE = Tariff(0.0, 0.0)
"""Of a judge that no provider serves."""


def price_of(name: str, judge: ChatJudgeConfig | LocalJudgeConfig) -> Tariff | None:
    """The judge's price, from the configuration or the list; None: unknown. Raises ConfigError where it is
    unknown and a budget is to be kept.
    """
    if isinstance(judge, LocalJudgeConfig):
        return FREE
    written = judge.price
    configured = Tariff(written.input_per_million, written.output_per_million) if written else None
    found = tariff(judge.type, judge.model, base_url=judge.base_url, configured=configured)
    try:
        return required(name, judge.model, found, judge.daily_budget_usd)
    except PriceUnknownError as error:
        raise ConfigError(str(error)) from None


def tariffs(judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig]) -> Tariffs:
    """The price of each configured judge. Raises ConfigError as `price_of`."""
    return {name: price_of(name, judge) for name, judge in judges.items()}


def uncounted(judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig], prices: Tariffs) -> tuple[str, ...]:
    """The judges whose calls may cost money that nobody counts: no price is known, and somebody else serves
    them. What answers on this machine's loopback sends no bill.
    """
    return tuple(name for name, judge in judges.items() if prices[name] is None and not _is_here(judge.url))


def told(judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig]) -> Tariffs:
    """The price of each judge; of those that are uncounted the log says so. Raises ConfigError."""
    found = tariffs(judges)
    for name in uncounted(judges, found):
        log.warning("judge_price_unknown", judge=name, model=judges[name].model, counted_as_usd=0)
    return found


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
