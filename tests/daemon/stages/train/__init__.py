"""Tests of training as the daemon runs it."""
