"""What a secure test broker asks for: TLS, each SASL mechanism, signed tokens, client certificates, ACLs.

`admin` may do everything, whichever way it logs in; so may whoever has the client certificate. `stranger` may
log in and no more; `reader` may read topics and use no group, `member` may use groups and read no topic.
"""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

PASSWORD = "correct-horse"
AUDIENCE = "rlaifd-tests"
USERS = ("admin", "stranger", "reader", "member")

PROPERTIES = """sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {plain};
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub="broker";
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwt.validator.class=org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator
sasl.oauthbearer.jwks.endpoint.url={keys}
sasl.oauthbearer.expected.audience={audience}
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS;User:CN=client
"""


class Security:
    """Keys, certificates and users of one broker, made in its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ca, key = certificate(directory, "broker", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.certificate, self.key = certificate(directory, "client")
        for store, files in {"keystore": (key, self.ca), "truststore": (self.ca, self.certificate)}.items():
            (directory / f"{store}.pem").write_text("".join(each.read_text() for each in files))
        self._signs = directory / "token.key"
        openssl("genrsa", "-out", str(self._signs), "2048")
        self._keys = directory / "jwks.json"
        self._keys.write_text(json.dumps({"keys": [self._public()]}), encoding="utf-8")

    def client(self, user: str = "admin", mechanism: str = "SCRAM-SHA-512") -> dict[str, object]:
        """What kafka-python's clients are told to log in as the user."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": PASSWORD,
            "ssl_cafile": str(self.ca),
        }

    def token(self, user: str = "admin", *, audience: str = AUDIENCE, lasts_s: float = 600.0) -> str:
        """A signed token of the user, as an identity provider issues it."""
        now = int(time.time())
        claims = {"sub": user, "aud": audience, "iat": now - 60, "exp": int(now + lasts_s), "iss": "tests"}
        head = {"alg": "RS256", "kid": "tests", "typ": "JWT"}
        signed = ".".join(_base64(json.dumps(each).encode()) for each in (head, claims))
        signature = openssl("dgst", "-sha256", "-sign", str(self._signs), given=signed.encode())
        return f"{signed}.{_base64(signature)}"

    def grant(self, bootstrap: str) -> None:
        """Gives `reader` every topic and `member` every group."""
        from kafka.admin import (
            ACL,
            ACLOperation,
            ACLPermissionType,
            KafkaAdminClient,
            ResourcePattern,
            ResourceType,
        )

        pairs: list[tuple[str, Any, Any]] = [
            ("reader", ResourceType.TOPIC, ACLOperation.READ),
            ("reader", ResourceType.TOPIC, ACLOperation.DESCRIBE),
            ("member", ResourceType.GROUP, ACLOperation.READ),
        ]
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, **self.client())
        try:
            admin.create_acls(
                [
                    ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, "*"))
                    for user, kind, operation in pairs
                ]
            )
        finally:
            admin.close()

    def properties(self) -> str:
        """The broker's settings beside those of every test broker."""
        plain = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
        return PROPERTIES.format(
            password=PASSWORD,
            plain=plain,
            keys=self._keys.as_uri(),
            audience=AUDIENCE,
            keystore=self._directory / "keystore.pem",
            truststore=self._directory / "truststore.pem",
        )

    def users(self) -> list[str]:
        """Arguments that write the users' SCRAM credentials while the broker's data is formatted."""
        made: list[str] = []
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            for user in USERS:
                made += ["--add-scram", f"{mechanism}=[name={user},password={PASSWORD}]"]
        return made

    def java(self) -> list[str]:
        """The broker reads only such key sets as its command line allows."""
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys.as_uri()}"]

    def _public(self) -> dict[str, str]:
        modulus = openssl("rsa", "-in", str(self._signs), "-noout", "-modulus").decode()
        number = bytes.fromhex(modulus.strip().partition("=")[2])
        return {"kty": "RSA", "kid": "tests", "use": "sig", "alg": "RS256", "n": _base64(number), "e": "AQAB"}


def certificate(directory: Path, name: str, *extensions: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    made = directory / f"{name}.pem", directory / f"{name}.key"
    added = [word for each in extensions for word in ("-addext", each)]
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", *added,
            "-out", str(made[0]), "-keyout", str(made[1]))  # fmt: skip
    return made


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """Runs openssl and returns what it wrote."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=given).stdout


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
