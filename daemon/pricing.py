"""What a configured judge's calls cost."""

from connectors.judges.prices import PriceUnknownError, Tariff, required, tariff
from daemon.config import JudgeConfig
from daemon.errors import ConfigError
from policies.records import Role


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
