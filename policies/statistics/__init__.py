"""Intervals and tests that know of no policy."""
