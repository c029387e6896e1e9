"""Rollout: the wanted state in a file, the state in force in the store, and the target that mirrors it."""
