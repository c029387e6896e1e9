"""The commands that tests call in their own process."""
