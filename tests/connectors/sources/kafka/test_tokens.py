"""Tokens come from a file or from an identity provider, or one line says why there is none."""

from pathlib import Path

import pytest
from kafka.errors import KafkaConnectionError

from connectors.errors import FatalError, TransientError
from connectors.sources.kafka import tokens
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.errors import unreachable
from connectors.sources.kafka.tokens import FileTokens, Grant, GrantedTokens
from tests.servers.kafka import free_ports
from tests.servers.tokens import CLIENT, SECRET, Provider

OPTIONS = KafkaOptions(bootstrap_servers="b:1", topics=("t",), sasl_mechanism="OAUTHBEARER")


def line_of(source: FileTokens | GrantedTokens) -> str:
    """The one line with which a token is not given."""
    with pytest.raises(KafkaConnectionError) as caught:
        source.token()
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_at_every_login(tmp_path: Path) -> None:
    """Whoever renews it needs to tell nobody."""
    file = tmp_path / "token"
    source = FileTokens(file)
    assert f"no token in {file}: No such file" in line_of(source)
    for token in ("one", "two"):
        file.write_text(f" {token}\n")
        assert source.token() == token


@pytest.mark.parametrize("held", [b"", b"two words", b"two\nlines", b"caf\xc3\xa9", b"\xff"])
def test_what_is_no_token_is_sent_to_nobody(tmp_path: Path, held: bytes) -> None:
    """It would end the header that it is sent in, or break the client."""
    (tmp_path / "token").write_bytes(held)
    assert "no token in" in line_of(FileTokens(tmp_path / "token"))


def test_a_token_is_asked_for_once_in_four_fifths_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the client's name and secret, whatever characters they have, and the scope."""
    now = [1000.0]
    monkeypatch.setattr(tokens, "monotonic", lambda: now[0])
    numbers = iter(range(9))
    with Provider(lambda: f"t{next(numbers)}", lasts_s=100).serving() as provider:
        source = GrantedTokens(Grant(provider.url, CLIENT, SECRET, scope="kafka logs"))
        given = []
        for at in (1000.0, 1079.0, 1080.0, 1159.0):
            now[0] = at
            given.append(source.token())
    assert given == ["t0", "t0", "t1", "t1"]
    assert provider.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka logs"]}] * 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, b'{"error": "invalid_client"}', FatalError, "(401, invalid_client)"),
        (400, b'{"error": "invalid_scope"}', FatalError, "correct `sasl_username`"),
        (403, b"<html>", FatalError, "(403)"),
        (302, b"", FatalError, "(302)"),
        (503, b"busy", TransientError, "gives no token (503)"),
        (429, b"{}", TransientError, "gives no token (429)"),
        (200, b"{}", TransientError, "no token in what"),
        (200, b"[1]", TransientError, "no token in what"),
        (200, b"{", TransientError, "no token from"),
    ],
)
def test_why_there_is_no_token(status: int, body: bytes, kind: type[Exception], words: str) -> None:
    """What only a person can mend is fatal; other trouble passes. The secret goes nowhere else."""
    with Provider(lambda: "t").serving() as provider:
        provider.answers.append((status, body))
        line = line_of(GrantedTokens(Grant(provider.url, CLIENT, SECRET)))
        assert provider.url in line
        assert len(provider.asked) == 1
    told = unreachable(OPTIONS, line)
    assert type(told) is kind
    assert words in str(told)


def test_a_provider_that_is_away() -> None:
    """Its address is named."""
    (port,) = free_ports(1)
    line = line_of(GrantedTokens(Grant(f"http://127.0.0.1:{port}/t", CLIENT, SECRET)))
    assert f"no token from http://127.0.0.1:{port}/t" in line
    assert type(unreachable(OPTIONS, line)) is TransientError


def test_the_secret_is_not_shown() -> None:
    """A grant and the options print without it."""
    assert SECRET not in repr(Grant("http://x", CLIENT, SECRET))
    assert SECRET not in repr(KafkaOptions(bootstrap_servers="b", topics=(), ssl_password=SECRET))
