"""OpenTelemetry's traces and logs, as its collectors and exporters write them."""
