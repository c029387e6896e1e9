"""Tests of the service's life."""
