"""Kafka topics, consumed as a group."""
