"""A tiny agent from nothing, for the demo and the tests."""
