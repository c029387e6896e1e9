"""Kinds of numbers in a configuration."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

Share = Annotated[float, Field(ge=0, le=1)]
Auto = Literal["auto"]
"""Decided before a run from the size of base and data, into an explicit number (`training.planning`)."""


def _or_auto(value: Any, valid: ValidatorFunctionWrapHandler) -> Any:
    """One complaint instead of one for each member of the union."""
    try:
        return valid(value)
    except ValidationError as error:
        message = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ValueError(f"neither auto nor valid: {message}") from None


AutoFloat = Annotated[PositiveFloat | PositiveInt | Auto, WrapValidator(_or_auto)]
AutoInt = Annotated[PositiveInt | Auto, WrapValidator(_or_auto)]
AutoShare = Annotated[Share | Auto, WrapValidator(_or_auto)]
AutoBool = Annotated[bool | Auto, WrapValidator(_or_auto)]
