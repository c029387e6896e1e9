"""Child processes: the only way to what loads torch."""
