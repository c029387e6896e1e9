"""The first configuration that `rlaifd init` writes."""

from pathlib import Path

from daemon.errors import UsageError

CONFIG = """\
# rlaifd: the daemon's configuration. Check it with `rlaifd check`.
# The last line of three dots must stay: a file without it was cut off, and is refused.
state_dir: .rlaifd

sources:
  - type: jsonl            # or kafka: bootstrap_servers, topics, group_id
    name: agent
    path: logs

policy:
  name: support-agent
  family: llama            # the family of your agent's model; its own family may not judge it
  base_model: models/base  # a directory, or a hub id with `revision: <commit>`

judges:
  small:                   # scores the traffic
    role: small
    type: openai
    model: gpt-5-mini
    family: gpt
    temperature: null      # reasoning models take none,
    max_tokens: 4096       # and what they reason counts
    api_key_file: secrets/openai
    daily_budget_usd: 5
  large:                   # audits a sample
    role: large
    type: openai
    model: gpt-5
    family: gpt
    temperature: null
    max_tokens: 4096
    api_key_file: secrets/openai
    daily_budget_usd: 10
  gate:                    # compares adapters; of another family than small
    role: gate
    type: anthropic
    model: claude-sonnet-4-5
    family: claude
    api_key_file: secrets/anthropic
    daily_budget_usd: 10

rollout:
  file: rollout.yaml

targets:
  - {type: directory, path: serving}
...
"""

ROLLOUT = """\
# Which adapter is wanted. Edit it, or use `rlaifd promote` and `rlaifd rollback`.
apiVersion: rlaifd/v1
kind: AdapterRollout
spec:
  stable: null             # null: the base model
  canary: null
...
"""


def write(directory: Path) -> list[Path]:
    """Writes both files; refuses to overwrite one."""
    files = {directory / "rlaifd.yaml": CONFIG, directory / "rollout.yaml": ROLLOUT}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} exists already: remove it first, or choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)
