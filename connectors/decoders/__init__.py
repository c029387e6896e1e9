"""Log formats: bytes to traces."""
