"""A minimal valid configuration for tests, as text and as settings."""

from pathlib import Path

from daemon.config.settings import Settings, load
from tests.daemon.adapters.basefiles import write_base

TEXT = """\
state_dir: state
sources:
  - {type: jsonl, name: agent, path: logs}
policy:
  name: support-agent
  family: llama
  base_model: base
judges:
  small: {role: small, type: openai, model: small-judge, family: gpt,
          base_url: "http://127.0.0.1:1/v1", api_key: k}
  large: {role: large, type: openai, model: large-judge, family: gpt,
          base_url: "http://127.0.0.1:1/v1", api_key: k}
  gate: {role: gate, type: openai, model: gate-judge, family: claude,
         base_url: "http://127.0.0.1:1/v1", api_key: k}
rollout: {file: rollout.yaml, directory: serving}
web: {port: 0}
...
"""


def write(directory: Path, text: str = TEXT) -> Path:
    """Writes the configuration and the directories it names; returns the file's path."""
    write_base(directory / "base")
    (directory / "logs").mkdir(exist_ok=True)
    path = directory / "rlaifd.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def settings(directory: Path, text: str = TEXT) -> Settings:
    """The loaded settings of `write`."""
    return load(write(directory, text))
