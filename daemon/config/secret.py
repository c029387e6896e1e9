"""Secrets, from the configuration or from the files that it names."""

from pathlib import Path

from pydantic import SecretStr

from daemon.config.hosts import is_loopback
from daemon.config.judges import ChatJudgeConfig
from daemon.config.settings import WebConfig
from daemon.errors import ConfigError
from policies.configured import presentable


def secret(value: SecretStr | None, file: Path | None, *, key: str) -> str | None:
    """A secret from the configuration or from the file that `key` names, without the trailing newline.

    Raises ConfigError, which names the key.
    """
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{key}: {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{key}: {file}: not UTF-8: a secret is one line of text") from None
        if not found or not found.isprintable():
            raise ConfigError(f"{key}: {file}: a secret is one line of text, and this file is not")
        return found
    return None if value is None else value.get_secret_value()


def api_key(name: str, judge: ChatJudgeConfig) -> str | None:
    """The key with which a judge is asked. Raises ConfigError."""
    return secret(judge.api_key, judge.api_key_file, key=f"judges.{name}.api_key_file")


def alert_token(web: WebConfig) -> str | None:
    """The bearer token of `/alerts`. Raises ConfigError, also for one that nobody could present."""
    key = "web.token_file"
    found = secret(web.token, web.token_file, key=key)
    if found is None or web.token_file is None:
        return found
    try:
        return presentable(found, guessed_at=not is_loopback(web.host))
    except ValueError as error:
        raise ConfigError(f"{key}: {web.token_file}: {error}") from None
