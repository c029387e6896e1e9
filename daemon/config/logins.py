"""How a Kafka client says who it is, and which keys of that belong together."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import model_validator

from daemon.config.hosts import is_loopback
from policies.configured import Configured, misfit

BEARER = "OAUTHBEARER"


class KafkaLogin(Configured):
    """TLS, and one way of logging in: none, a user with a password, or a token.

    With `sasl_token_url`, user and password are the client that asks there for a token.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    sasl_token_file: Path | None = None
    sasl_token_url: str | None = None
    sasl_token_scope: str | None = None
    sasl_token_cafile: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password_file: Path | None = None

    @model_validator(mode="after")
    def _logs_in(self) -> "KafkaLogin":
        for key, (needed, because) in self._needs().items():
            written = getattr(self, key) is not None
            if needed is not None and written is not needed:
                raise misfit(key, f"is {'set' if written else 'missing'}, and {because}")
        for key in ("ssl_keyfile", "ssl_password_file"):
            if getattr(self, key) is not None and self.ssl_certfile is None:
                raise misfit(key, "is set, and ssl_certfile is missing")
        self._protects_the_secret()
        return self

    def _needs(self) -> dict[str, tuple[bool | None, str]]:
        """By key, whether it must be written, must not, or may be (None), and because of what."""
        sasl = self.security_protocol.startswith("SASL")
        bearer = sasl and self.sasl_mechanism == BEARER
        asks = bearer and self.sasl_token_url is not None
        protocol = f"security_protocol is {self.security_protocol}"
        mechanism = f"sasl_mechanism is {self.sasl_mechanism}" if sasl else protocol
        file = "sasl_token_url is set" if asks else f"{mechanism} without sasl_token_url"
        user = file if bearer else mechanism
        return {
            "sasl_mechanism": (sasl, protocol),
            "sasl_username": (sasl and (asks or not bearer), user),
            "sasl_password_file": (sasl and (asks or not bearer), user),
            "sasl_token_file": (bearer and not asks, file if bearer else mechanism),
            "sasl_token_url": (None if bearer else False, mechanism),
            "sasl_token_scope": (None if asks else False, file if bearer else mechanism),
            "sasl_token_cafile": (None if asks else False, file if bearer else mechanism),
        }  # fmt: skip

    def _protects_the_secret(self) -> None:
        if self.sasl_token_url is None:
            return
        where = urlsplit(self.sasl_token_url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise misfit("sasl_token_url", "is no http or https address")
        if where.scheme == "http" and not is_loopback(where.hostname):
            raise misfit("sasl_token_url", "would carry the password in the clear: use https")
