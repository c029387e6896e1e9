"""The state as people and scripts are told it."""
