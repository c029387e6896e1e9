"""Formats that users describe: where in their JSON an event's fields are, as paths in a YAML file."""
