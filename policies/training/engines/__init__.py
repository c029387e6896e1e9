"""The ways to train. Each trains the adapter of one run."""
