"""Kinds of numbers in a configuration."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

LEAST_RATE = 1e-6


def _some_or_none(rate: float) -> float:
    if 0 < rate < LEAST_RATE:
        raise ValueError(f"{rate:g} draws hardly anything: write 0, or {LEAST_RATE:g} or more")
    return rate


Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, le=1), AfterValidator(_some_or_none)]
"""A share of the traffic: a rate at which nothing would ever be drawn is a slip."""
Auto = Literal["auto"]
"""Decided before a run from the size of base and data, into an explicit number (`training.planning`)."""


def _or_auto(value: Any, valid: ValidatorFunctionWrapHandler) -> Any:
    """One complaint instead of one for each member of the union."""
    try:
        return valid(value)
    except ValidationError as error:
        message = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ValueError(f"neither auto nor valid: {message}") from None


def _all_or_some(steps: int) -> int:
    if steps < 1 and steps != -1:
        raise ValueError(f"{steps} is no number of steps: write -1 for as many as the epochs have")
    return steps


Rate = Annotated[float, Field(ge=1e-9, le=1)]
Epochs = Annotated[float, Field(ge=0.01, le=1000)]
Batch = Annotated[int, Field(ge=1, le=65_536)]
AutoRate = Annotated[Rate | Auto, WrapValidator(_or_auto)]
AutoEpochs = Annotated[Epochs | Annotated[int, Field(ge=1, le=1000)] | Auto, WrapValidator(_or_auto)]
AutoInt = Annotated[Batch | Auto, WrapValidator(_or_auto)]
Steps = Annotated[int, Field(le=10_000_000), AfterValidator(_all_or_some)]
"""-1: as many as there are."""
AutoShare = Annotated[Share | Auto, WrapValidator(_or_auto)]
AutoBool = Annotated[bool | Auto, WrapValidator(_or_auto)]
