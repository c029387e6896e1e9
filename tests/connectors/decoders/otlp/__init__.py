"""Tests of the reader of OpenTelemetry."""
