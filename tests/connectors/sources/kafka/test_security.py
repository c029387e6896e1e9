"""The Kafka source against a real broker with TLS, SCRAM and ACLs."""

from pathlib import Path
from typing import Any

import pytest

from connectors.errors import FatalError, TransientError
from tests.connectors.sources.reading import Open, patient, trouble, values
from tests.servers.kafka import PASSWORD, PrivateBroker, keytool

pytestmark = [pytest.mark.alone, pytest.mark.kafka]


def secure(broker: PrivateBroker, **other: Any) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "admin",
        "sasl_password": PASSWORD,
        "ssl_cafile": broker.ca,
        **other,
    }


def foreign_certificate(directory: Path) -> Path:
    """A certificate that has signed nothing of the broker's."""
    store = ["-alias", "other", "-storetype", "PKCS12", "-storepass", PASSWORD]
    store += ["-keystore", str(directory / "other.p12")]
    keytool("-genkeypair", "-keyalg", "EC", "-validity", "2", "-dname", "CN=other", *store)
    keytool("-exportcert", "-rfc", "-file", str(directory / "wrong.pem"), *store)
    return directory / "wrong.pem"


def test_tls_scram_and_acls(secure_kafka: PrivateBroker, open_source: Open, tmp_path: Path) -> None:
    """The right settings read; each wrong one is one clear fatal line that says which setting."""
    topic = secure_kafka.create_topic()
    secure_kafka.produce(topic, values(3))
    source = open_source(secure_kafka, topic, **secure(secure_kafka))
    assert len(patient(source, lambda found: len(found) == 3)) == 3
    wrong = foreign_certificate(tmp_path)
    faults: list[tuple[dict[str, Any], str]] = [
        (secure(secure_kafka, sasl_password="wrong"), "user or password is wrong"),
        (secure(secure_kafka, ssl_cafile=wrong), "not signed by `ssl_cafile`"),
        ({"security_protocol": "PLAINTEXT"}, "does not speak plaintext Kafka"),
        (secure(secure_kafka, ssl_cafile=tmp_path / "absent.pem"), "absent.pem"),
    ]
    for options, words in faults:
        line = trouble(open_source(secure_kafka, topic, **options), FatalError)
        assert words in line
        assert "\n" not in line
        assert PASSWORD not in line
    line = trouble(
        open_source(secure_kafka, topic, **secure(secure_kafka, sasl_username="stranger")), TransientError
    )
    assert "may not be read" in line
