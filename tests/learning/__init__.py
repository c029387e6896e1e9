"""`make learn`: a real small model learns a support task from its own logs, by the daemon's own commands."""
