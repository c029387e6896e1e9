"""Paths of the configuration, from the directory of its file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from policies import library

if TYPE_CHECKING:
    from daemon.config.settings import Settings


def anchored(settings: "Settings", base: Path) -> "Settings":
    """The same settings with every path made absolute from the file's directory."""
    settings = settings.model_copy(update={name: _under(base, each) for name, each in settings})
    policy, local = settings.policy, base / settings.policy.base_model
    named = {
        "base_model": str(local.resolve()) if local.is_dir() else policy.base_model,
        "constitution": library.anchored(policy.constitution, base),
        "rubric": library.anchored(policy.rubric, base),
    }
    store = settings.store.model_copy(update={"url": _file_under(base, settings.store.url)})
    return settings.model_copy(update={"store": store, "policy": policy.model_copy(update=named)})


def _under(base: Path, value: Any) -> Any:
    """The value with every `Path` in it resolved against the directory."""
    if isinstance(value, Path):
        return base / value
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _under(base, each) for name, each in value})
    if isinstance(value, tuple):
        return tuple(_under(base, each) for each in value)
    if isinstance(value, dict):
        return {key: _under(base, each) for key, each in value.items()}
    return value


def _file_under(base: Path, url: SecretStr | None) -> SecretStr | None:
    """A SQLite file by relative path is in the configuration's directory, wherever the command runs."""
    start, _, file = ("" if url is None else url.get_secret_value()).partition(":///")
    if not start.startswith("sqlite") or not file or file.startswith(("/", ":", "file:")):
        return url
    return SecretStr(f"{start}:///{base / file}")
