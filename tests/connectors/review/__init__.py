"""Tests of what goes out to people and what comes back."""
