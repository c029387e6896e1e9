"""The Kafka source against a real broker that asks who is there: each way of logging in, and each refusal."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Record
from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka import health
from tests.connectors.sources.reading import DEADLINE_S, Open, patient, trouble, values
from tests.servers.kafka import PrivateBroker
from tests.servers.kafka_security import PASSWORD, Security, certificate, openssl
from tests.servers.tokens import CLIENT, SECRET, Provider

pytestmark = [pytest.mark.alone, pytest.mark.kafka]

Options = Mapping[str, Any]


@pytest.fixture
def security(secure_kafka: PrivateBroker) -> Security:
    assert secure_kafka.security is not None
    return secure_kafka.security


def login(security: Security, mechanism: str, user: str = "admin", password: str = PASSWORD) -> Options:
    return _tls(security, "SASL_SSL") | {
        "sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password,
    }  # fmt: skip


def bearer(security: Security, **where: Any) -> Options:
    return _tls(security, "SASL_SSL") | {"sasl_mechanism": "OAUTHBEARER", **where}


def mutual(broker: PrivateBroker, security: Security, **files: Path) -> Options:
    return _tls(security, "SSL") | {"bootstrap_servers": broker.mutual, **files}


def _tls(security: Security, protocol: str) -> dict[str, Any]:
    return {"security_protocol": protocol, "ssl_cafile": security.ca}


def held(directory: Path, name: str, token: str) -> Path:
    (directory / name).write_text(token, encoding="utf-8")
    return directory / name


def test_every_way_of_logging_in_reads(
    secure_kafka: PrivateBroker, security: Security, open_source: Open, tmp_path: Path
) -> None:
    """Passwords, a token from a file and from an identity provider, and certificates from both sides."""
    topic = secure_kafka.create_topic()
    secure_kafka.produce(topic, values(3))
    locked = tmp_path / "locked.key"
    arguments = ["rsa", "-aes256", "-passout", f"pass:{PASSWORD}", "-in", str(security.key)]
    openssl(*arguments, "-out", str(locked))
    with Provider(security.token).serving() as provider:
        ways: dict[str, Options] = {
            "PLAIN": login(security, "PLAIN"),
            "SCRAM-SHA-256": login(security, "SCRAM-SHA-256"),
            "SCRAM-SHA-512": login(security, "SCRAM-SHA-512"),
            "token file": bearer(security, sasl_token_file=held(tmp_path, "token", security.token())),
            "token url": bearer(
                security, sasl_token_url=provider.url, sasl_username=CLIENT, sasl_password=SECRET
            ),
            "mTLS": mutual(
                secure_kafka, security, ssl_certfile=security.certificate, ssl_keyfile=security.key
            ),
            "mTLS, encrypted key": {
                **mutual(secure_kafka, security, ssl_certfile=security.certificate, ssl_keyfile=locked),
                "ssl_password": PASSWORD,
            },
        }
        for way, options in ways.items():
            source = open_source(secure_kafka, topic, **options)
            assert len(patient(source, lambda found: len(found) == 3)) == 3, way
            source.close()


def test_each_refusal_is_one_line(
    secure_kafka: PrivateBroker, security: Security, open_source: Open, tmp_path: Path
) -> None:
    """It says which setting to correct or which right to grant, and shows no password and no token."""
    topic = secure_kafka.create_topic()
    security.grant(secure_kafka.bootstrap)
    other, its_key = certificate(tmp_path, "other")
    stale, strange = security.token(lasts_s=-100), security.token(audience="somebody else")
    mine = {"ssl_certfile": security.certificate}
    refusals: list[tuple[type[ConnectorError], str, Options]] = [
        (FatalError, "user or password is wrong", login(security, "PLAIN", password="wrong")),
        (FatalError, "user or password is wrong", login(security, "SCRAM-SHA-512", password="wrong")),
        (FatalError, "not signed by `ssl_cafile`", {**login(security, "PLAIN"), "ssl_cafile": other}),
        (FatalError, "holds no certificate", {**login(security, "PLAIN"), "ssl_cafile": its_key}),
        (FatalError, "absent.pem", {**login(security, "PLAIN"), "ssl_cafile": tmp_path / "absent.pem"}),
        (FatalError, "does not speak plaintext Kafka", {"security_protocol": "PLAINTEXT"}),
        (TransientError, "may expect another `security_protocol`", _tls(security, "SSL")),
        (FatalError, "refuses the token", bearer(security, sasl_token_file=held(tmp_path, "old", stale))),
        (FatalError, "refuses the token", bearer(security, sasl_token_file=held(tmp_path, "aud", strange))),
        (FatalError, "asks for a client certificate", mutual(secure_kafka, security)),
        (FatalError, "does not trust who signed `ssl_certfile`",
         mutual(secure_kafka, security, ssl_certfile=other, ssl_keyfile=its_key)),
        (FatalError, "not the key of `ssl_certfile`",
         mutual(secure_kafka, security, **mine, ssl_keyfile=its_key)),
        (FatalError, "grant READ on the group", login(security, "PLAIN", user="reader")),
        (TransientError, "may not be read", login(security, "PLAIN", user="member")),
    ]  # fmt: skip
    sources = [
        open_source(secure_kafka, topic, name=f"s{number}", bootstrap_timeout_s=2.0, **options)
        for number, (_, _, options) in enumerate(refusals)
    ]
    for source, (kind, words, _) in zip(sources, refusals, strict=True):
        line = trouble(source, kind, words)
        assert "\n" not in line
        assert not any(secret in line for secret in (PASSWORD, stale, strange))


def test_a_login_that_is_refused_later(
    secure_kafka: PrivateBroker,
    security: Security,
    open_source: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that ran out and was not renewed is told as that; with a new one it goes on."""
    monkeypatch.setattr(health, "FATAL_RETRY_S", 0.5)
    topic = secure_kafka.create_topic()
    secure_kafka.produce(topic, values(3))
    token = held(tmp_path, "token", security.token(lasts_s=8))
    source = open_source(secure_kafka, topic, **bearer(security, sasl_token_file=token))
    assert len(patient(source, lambda found: len(found) == 3)) == 3
    held(tmp_path, "token", security.token(lasts_s=-100))
    assert "refuses the token" in trouble(source, FatalError)
    held(tmp_path, "token", security.token())
    secure_kafka.produce(topic, values(2))
    deadline = time.monotonic() + DEADLINE_S
    found: list[Record] = []
    while len(found) < 2:
        assert time.monotonic() < deadline
        with suppress(ConnectorError):
            found += source.receive(0.2)
    assert [each.offset for each in found[-2:]] == [3, 4]
