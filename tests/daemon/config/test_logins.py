"""The keys with which a Kafka client logs in belong together, or one line says which does not."""

from pathlib import Path

import pytest

from daemon.config.settings import KafkaConfig, load
from daemon.errors import ConfigError
from daemon.wiring.broker import options_of
from tests.daemon.configuration import TEXT, settings, write

USER = "sasl_username: u, sasl_password_file: pw"
BEARER = "security_protocol: SASL_SSL, sasl_mechanism: OAUTHBEARER"
URL = "sasl_token_url: 'https://idp/token'"


def text(login: str) -> str:
    kafka = f"{{type: kafka, name: k, bootstrap_servers: b, topics: [t], {login}}}"
    return TEXT.replace("policy:\n", f"  - {kafka}\npolicy:\n")


@pytest.mark.parametrize(
    "login",
    [
        "security_protocol: PLAINTEXT",
        "security_protocol: SSL, ssl_cafile: ca, ssl_certfile: c, ssl_keyfile: k, ssl_password_file: pw",
        f"security_protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, {USER}",
        f"security_protocol: SASL_SSL, sasl_mechanism: SCRAM-SHA-512, {USER}",
        f"{BEARER}, sasl_token_file: t",
        f"{BEARER}, {URL}, {USER}, sasl_token_scope: s, sasl_token_cafile: ca",
        f"{BEARER}, sasl_token_url: 'http://127.0.0.1:1/t', {USER}",
    ],
)
def test_each_way_of_logging_in_is_taken(tmp_path: Path, login: str) -> None:
    """And becomes what the client is told, with the secrets read from their files."""
    (tmp_path / "pw").write_text("hunter2\n")
    source = settings(tmp_path, text(login)).sources[1]
    assert isinstance(source, KafkaConfig)
    options = options_of(source, key="sources.1")
    assert options.sasl_mechanism == source.sasl_mechanism
    assert options.sasl_password == ("hunter2" if source.sasl_password_file else None)
    assert options.ssl_password == ("hunter2" if source.ssl_password_file else None)


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("sasl_token_file: t", "sasl_token_file: is set, and security_protocol is PLAINTEXT"),
        ("security_protocol: SASL_SSL", "sasl_mechanism: is missing, and security_protocol is SASL_SSL"),
        (
            "security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: u",
            "sasl_password_file: is missing, and sasl_mechanism is PLAIN",
        ),
        (
            f"security_protocol: SASL_SSL, sasl_mechanism: PLAIN, {USER}, sasl_token_file: t",
            "sasl_token_file: is set, and sasl_mechanism is PLAIN",
        ),
        (BEARER, "sasl_token_file: is missing, and sasl_mechanism is OAUTHBEARER without sasl_token_url"),
        (f"{BEARER}, {URL}", "sasl_username: is missing, and sasl_token_url is set"),
        (
            f"{BEARER}, {URL}, {USER}, sasl_token_file: t",
            "sasl_token_file: is set, and sasl_token_url is set",
        ),
        (
            f"{BEARER}, sasl_token_file: t, sasl_token_scope: s",
            "sasl_token_scope: is set, and sasl_mechanism is OAUTHBEARER without sasl_token_url",
        ),
        (f"{BEARER}, {USER}, sasl_token_url: 'http://idp/t'", "sasl_token_url: would carry the password"),
        (f"{BEARER}, {USER}, sasl_token_url: 'file:///etc'", "sasl_token_url: is no http or https address"),
        ("security_protocol: SSL, ssl_keyfile: k", "ssl_keyfile: is set, and ssl_certfile is missing"),
    ],
)
def test_keys_that_do_not_fit_are_named(tmp_path: Path, login: str, said: str) -> None:
    """Before anything is tried."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text(login)))
    assert f"sources.1.{said}" in str(caught.value)
    assert "\n" not in str(caught.value)
