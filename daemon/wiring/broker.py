"""A configured Kafka source as its client is told."""

from dataclasses import fields
from typing import Any

from connectors.sources.kafka.client import KafkaOptions
from daemon.config.secret import secret
from daemon.config.settings import KafkaConfig

SECRETS = {"sasl_password_file": "sasl_password", "ssl_password_file": "ssl_password"}
"""Keys that name a file with a secret, and the options that they become."""
FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "sasl_token_file", "sasl_token_cafile")
"""Keys that name a file which the client reads itself."""


def options_of(source: KafkaConfig, *, key: str) -> KafkaOptions:
    """What the client is told. Raises ConfigError below that key for a password that cannot be read."""
    told = {each.name for each in fields(KafkaOptions)}
    options = {name: value for name, value in source.model_dump().items() if name in told}
    secrets: dict[str, Any] = {
        option: secret(None, getattr(source, file), key=f"{key}.{file}") for file, option in SECRETS.items()
    }
    return KafkaOptions(**options, **secrets)
