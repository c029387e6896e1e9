"""Models that are asked for verdicts."""
