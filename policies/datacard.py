"""The card of a data set that a snapshot was exported as: what it holds, where it is from, what is open.

In the form that dataset hubs read: YAML between two lines of dashes, then prose. What only people can say
(the licence, whom to ask, what was agreed with those who wrote) is a field to fill in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

OPEN = "(to be filled in by whoever passes this on)"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is known of an exported snapshot. Times are text, UTC; every mapping is a count by name."""

    snapshot: str
    policy: str
    base_model: str
    family: str
    frozen: str
    note: str
    splits: Mapping[str, int]
    """Pairs by the split of their prompts."""
    traces: Mapping[str, int]
    """By source of the logs."""
    contributors: int
    events: tuple[str, str] | None
    """When the first and the last event was."""
    answers: Mapping[str, int]
    """By what gave them: logged, or sampled from an adapter or the base model."""
    verdicts: Mapping[str, int]
    """By judge, family and version."""
    labels: int
    left_out: Mapping[str, int]
    """Preferences that are stored and not in it, in words."""
    people: int
    """Pairs of which people, not judges, preferred one answer; the other counts are without them."""
    unknown: int
    """Pairs that are not stored here: nothing but their text is known."""
    truncated: int
    """Pairs whose rejected answer was cut off."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file."""

    @property
    def pairs(self) -> int:
        """How many pairs it holds."""
        return sum(self.splits.values()) + self.people + self.unknown


def card(contents: Contents) -> str:
    """The card, as the text of a README.md."""
    return f"---\n{_head(contents)}---\n\n{_body(contents)}"


def _head(contents: Contents) -> str:
    head = {
        "license": "other",
        "license_name": OPEN,
        "license_link": OPEN,
        "pretty_name": f"Preferences of {contents.policy}, snapshot {contents.snapshot[:12]}",
        "task_categories": ["reinforcement-learning", "text-generation"],
        "tags": ["preference", "dpo", "rlaif"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": name}]}
            for name in contents.files
        ],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


_READING = """\
## Columns

* `prompt`, `chosen`, `rejected`: messages (role, content, reasoning, tool calls with arguments as JSON text)
* `tools`: definitions, as JSON text
* `weight`: factor of the pair's loss
* `soft`: estimated probability that chosen is the better one; a prior from the difference of the rewards
* `chosen_tokens`, `rejected_tokens`: an answer's tokens as sampled, under the rendering of that digest
* `rejected_truncated`: a limit cut the answer off
* `preference`: the row's number where it was made; 0 of pairs that people labelled
* `source`: who preferred the one answer, judges or people
* `chosen_reward`, `rejected_reward`: points of 0 to 10 that the judge gave the answers, where it did

## Limits

The preferences are judges' opinions, checked against people only as far as the daemon's alignment says.
They are of one agent and its customers. Strangers wrote the prompts: text in them may try to instruct who
reads it.

"""


def _body(contents: Contents) -> str:
    period = "unknown" if contents.events is None else " to ".join(contents.events)
    return f"""\
# Preferences of {contents.policy}

{contents.pairs} pairs of answers to one prompt each, of which judges preferred the one to the other, and
people in {contents.people} of them: what one training run saw. Frozen {contents.frozen} by
rlaifd{f" ({contents.note})" if contents.note else ""}.

| | |
|---|---|
| licence | {OPEN} |
| contact | {OPEN} |
| consent and terms of those who wrote | {OPEN} |
| personal data | not looked for: the prompts and logged answers are as they stand in the logs |
| policy | {contents.policy}, family {contents.family} |
| base model | {contents.base_model} |
| snapshot (SHA-256 of its JSONL) | `{contents.snapshot}` |
| events from | {period} |
| contributors | {contents.contributors} |
| labels by people on these pairs | {contents.labels} |
| rejected answers that were cut off | {contents.truncated} |

## Counts

{_table("split of the prompts", "pairs", contents.splits)}
{_table("source", "traces", contents.traces)}
{_table("answers", "number", contents.answers)}
{_table("judge", "verdicts behind the pairs", contents.verdicts)}
{_table("left out of the snapshot", "preferences", contents.left_out)}
Pairs of which nothing but the text is known: {contents.unknown}. Prompts that audit judges or test adapters
at the gate are in no snapshot, and so not here; those that calibrate are here only where people labelled
them.

{_READING}## Files

{_files(contents.files)}"""


def _table(what: str, unit: str, counts: Mapping[str, int]) -> str:
    rows = [f"| {_cell(name)} | {count} |" for name, count in sorted(counts.items())] or ["| none | 0 |"]
    return "\n".join([f"| {what} | {unit} |", "|---|---|", *rows, ""])


def _cell(text: str) -> str:
    """Names come from logs and configurations: none ends its cell, or the line."""
    return " ".join(text.split()).replace("|", "\\|") or "(none)"


def _files(files: Mapping[str, str]) -> str:
    return "".join(f"* `{name}`: SHA-256 `{digest}`\n" for name, digest in files.items())
