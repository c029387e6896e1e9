"""Every metric, by what it is of."""
