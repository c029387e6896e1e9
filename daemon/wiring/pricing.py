"""What a configured judge's calls cost."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from connectors.judges.prices import PriceUnknownError, Tariff, required, tariff
from daemon.config.settings import JudgeConfig, is_loopback
from daemon.errors import ConfigError
from policies.records import Role

Tariffs = Mapping[Role, Tariff | None]


def price_of(role: Role, judge: JudgeConfig) -> Tariff | None:
    """The judge's price, from the configuration or the list; None: unknown. Raises ConfigError where it is
    unknown and a budget is to be kept.
    """
    written = judge.price
    configured = Tariff(written.input_per_million, written.output_per_million) if written else None
    found = tariff(judge.type, judge.model, base_url=judge.base_url, configured=configured)
    try:
        return required(role, judge.model, found, judge.daily_budget_usd)
    except PriceUnknownError as error:
        raise ConfigError(str(error)) from None


def tariffs(judges: Mapping[Role, JudgeConfig]) -> Tariffs:
    """The price of each configured judge. Raises ConfigError as `price_of`."""
    return {role: price_of(role, judge) for role, judge in judges.items()}


def uncounted(judges: Mapping[Role, JudgeConfig], prices: Tariffs) -> tuple[Role, ...]:
    """The judges whose calls may cost money that nobody counts: no price is known, and somebody else serves
    them. What answers on this machine's loopback sends no bill.
    """
    return tuple(role for role, judge in judges.items() if prices[role] is None and not _is_here(judge))


def _is_here(judge: JudgeConfig) -> bool:
    try:
        host = urlsplit(judge.base_url or "").hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
