"""The whole daemon, as a user meets it."""
