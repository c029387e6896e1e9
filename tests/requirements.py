"""What a test needs beyond Python: skip and say what is missing, or fail where it is required."""

import os
from typing import NoReturn

import pytest


def missing(marker: str, why: str) -> NoReturn:
    """Skips the test with the reason; fails it where RLAIFD_TEST_REQUIRE names the marker."""
    required = os.environ.get("RLAIFD_TEST_REQUIRE", "").split(",")
    if marker in required:
        pytest.fail(f"{marker} is required here: {why}", pytrace=False)
    pytest.skip(f"{marker}: {why}")
