"""A configured Kafka source as its client is told."""

from connectors.sources.kafka.client import KafkaOptions
from daemon.config.secret import secret
from daemon.config.settings import KafkaConfig


def options_of(source: KafkaConfig, *, key: str) -> KafkaOptions:
    """What the client is told. Raises ConfigError below that key for a password that cannot be read."""
    ours = {"type", "name", "decoder", "agent_version", "keep", "sasl_password_file"}
    options = source.model_dump(exclude=ours)
    password = secret(None, source.sasl_password_file, key=f"{key}.sasl_password_file")
    return KafkaOptions(**options, sasl_password=password)
