"""The HTTP listener: metrics, health, alerts."""
