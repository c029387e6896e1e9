"""What `rlaifd check` says to expect."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.context import wired
from daemon.errors import ConfigError, RlaifdError
from daemon.wiring import by_hand
from daemon.wiring import check as checks
from policies.clusters import cluster_of, split_of
from policies.policy import Splits
from policies.records import Message, Split
from tests.connectors.decoders.events import native
from tests.daemon.configuration import TEXT, write


def check(path: Path) -> dict[str, Any]:
    """Without a child that tries the tokenizer of a base model: tests/daemon/children/test_family.py."""
    return checks.check(path, inspect=lambda _: [])


@pytest.mark.parametrize(
    ("role", "expected"), [("large", "no scores are audited"), ("gate", "nothing will be promoted")]
)
def test_a_missing_judge_is_told_with_what_it_means(tmp_path: Path, role: str, expected: str) -> None:
    """Only the gate's judge keeps every adapter from being promoted."""
    text = re.sub(rf"  {role}: {{[^}}]*}}\n", "", TEXT)

    notes = check(write(tmp_path, text.replace("claude", "other")))["notes"]

    (note,) = [note for note in notes if "none has the role" in note]
    assert note.startswith(f"judges: none has the role {role}: {expected}")


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("path: logs", "path: rlaifd.yaml", "sources.0.path: .*rlaifd.yaml is not a directory"),
        ("path: logs", "path: logs, decoder: zzz", "sources.0.decoder: unknown decoder 'zzz'"),
        ("path: logs", "path: logs, mapping: m.yaml", "sources.0.mapping: .*m.yaml: No such file"),
        ("state_dir: state", "state_dir: rlaifd.yaml", "state_dir: .*rlaifd.yaml is not a directory"),
        ("state_dir: state", 'store: {url: "mysql://u@h/db"}', "store.url is not a database URL"),
        (", api_key: k}\n  large", "}\n  large", None),
        ('base_url: "http://127.0.0.1:1/v1", api_key: k}\n  large', "}\n  large", "judges.small: no key"),
        (
            "api_key: k}\n  large",
            "api_key: k, daily_budget_usd: 1}\n  large",
            "judges.small.price: small-judge is",
        ),
        (
            "directory: serving",
            "directory: rlaifd.yaml",
            "targets.0.path: .*rlaifd.yaml is not a directory",
        ),
        (
            "base_model: base",
            "base_model: base\n  gate: {min_prompts: 500}",
            "policy.gate.min_prompts .500. is",
        ),
        (
            "base_model: base",
            "base_model: base\n  curation: {max_pairs: 9}",
            "policy.curation.max_pairs .9. is",
        ),
    ],
    ids=[
        "logs",
        "decoder",
        "mapping",
        "state",
        "store",
        "keyless",
        "key",
        "price",
        "serving",
        "gate",
        "pairs",
    ],
)
def test_the_daemon_refuses_what_check_refuses(tmp_path: Path, was: str, now: str, said: str | None) -> None:
    """In the same words and with the exit code of a wrong configuration."""
    assert was in TEXT
    path = write(tmp_path, TEXT.replace(was, now))
    if said is None:
        assert check(path)["ok"]
        return
    with pytest.raises(ConfigError, match=f"^{path}: {said}"):
        check(path)
    with pytest.raises(RlaifdError, match=f"^{said}") as caught, wired(path, working=True):
        pass
    assert caught.value.exit_code == 2


ENDPOINT = '  sampling: {type: openai, base_url: "http://127.0.0.1:1/v1", model: m, api_key_file: absent}\n'
KAFKA = "  - {type: kafka, name: k, bootstrap_servers: b, topics: [t], ssl_certfile: absent}\n"
DOCUMENT = "  rubric: ./absent\n"


SASL = (
    "  - {type: kafka, name: k, bootstrap_servers: b, topics: [t], security_protocol: SASL_SSL, "
    "sasl_mechanism: PLAIN, sasl_username: u, sasl_password_file: absent}\n"
)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sources.1.ssl_certfile", TEXT.replace("policy:\n", KAFKA + "policy:\n")),
        ("sources.1.sasl_password_file", TEXT.replace("policy:\n", SASL + "policy:\n")),
        ("policy.rubric", TEXT.replace("  base_model: base\n", "  base_model: base\n" + DOCUMENT)),
        (
            "policy.sampling.api_key_file",
            TEXT.replace("  base_model: base\n", "  base_model: base\n" + ENDPOINT),
        ),
        ("judges.gate.api_key_file", TEXT.replace("api_key: k}\nrollout", "api_key_file: absent}\nrollout")),
        ("web.token_file", TEXT.replace("web: {port: 0}", "web: {port: 0, token_file: absent}")),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, key: str, text: str) -> None:
    """With its key and the path it was looked for under: beside the configuration."""
    with pytest.raises(ConfigError, match=f"{key}: {tmp_path}/absent: No such file"):
        check(write(tmp_path, text))


LAX = """\
overrides: [judge-of-own-family]
stages: {dead_letter_ratio: 0.5}
"""


def test_what_is_lax_is_a_note_by_its_key(tmp_path: Path) -> None:
    """It may be meant; that nobody said it is what must not be."""
    policy = (
        "  gate: {min_win_rate: 0.4}\n  guards: {kl_nats: {limit: 30, mode: dry_run}}\n"
        "  judging: {small_rate: 0}\n"
    )
    text = TEXT.replace("  base_model: base\n", f"  base_model: base\n{policy}").replace("web:", f"{LAX}web:")
    text = text.replace("api_key: k}\nrollout", "api_key: k, daily_budget_usd: 0, price: *free}\nrollout")
    text = text.replace("*free", "{input_per_million: 1, output_per_million: 1}")
    notes = check(write(tmp_path, text))["notes"]
    for told in (
        "policy.gate.min_win_rate is 0.4, below the shipped 0.5: ",
        "policy.guards.kl_nats.limit is 30, above the shipped 20: ",
        "policy.guards.kl_nats.mode is dry_run: ",
        "policy.judging.small_rate is 0: ",
        "judges.gate.daily_budget_usd is 0: ",
        "stages.dead_letter_ratio is 0.5, above the shipped 0.05: ",
        "overrides: judge-of-own-family is set aside: ",
    ):
        assert len([note for note in notes if note.startswith(told)]) == 1, told
    assert not [note for note in check(write(tmp_path))["notes"] if "shipped" in note]


def test_a_way_back_starts_under_rules_that_contradict_each_other(tmp_path: Path) -> None:
    """A look, a halt and a rollback need no rule of the gate."""
    path = write(tmp_path, TEXT.replace("base_model: base", "base_model: base\n  gate: {min_prompts: 500}"))
    with wired(path) as parts:
        assert parts.rollout.status().stable is None


def test_a_rollout_file_that_is_none_is_told_by_its_key(tmp_path: Path) -> None:
    """With the file and what is wrong in it."""
    path = write(tmp_path)
    (tmp_path / "rollout.yaml").write_text("spec:\n  stable:\n...\n")
    with pytest.raises(ConfigError, match=f"^{path}: rollout.file: {tmp_path}/rollout.yaml: line 2"):
        check(path)


def test_without_a_store_check_says_what_to_expect_and_makes_none(tmp_path: Path) -> None:
    """From the configuration alone, said as such; not even the state directory is there after it."""
    found = check(write(tmp_path))
    assert found["forecast"]["said"].startswith("about 256 more events (156 to 386 in nine of ten cases)")
    assert found["forecast"]["basis"].startswith("expected from the configuration alone, at best")
    assert not (tmp_path / "state").exists()


def test_check_and_status_count_the_same_of_a_store(tmp_path: Path) -> None:
    """Thirty logs with as many prompts: what is there of each kind, and what is missing."""
    path = write(tmp_path)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(native(number)) + "\n" for number in range(30)))
    with wired(path) as parts:
        assert by_hand.ingest(parts, tmp_path / "log.jsonl").stored == 30
        counted = parts.status()
    found = check(path)
    assert {name: found[name] for name in ("forecast", "readiness")} == {
        name: counted[name] for name in ("forecast", "readiness")
    }
    assert counted["forecast"]["basis"].startswith("30 of the newest 30 events brought a new prompt")
    splits = [split_of(cluster_of(prompt_of(number)), Splits()) for number in range(30)]
    rows = {row["requirement"]: (row["have"], row["missing"]) for row in found["readiness"]}
    gate = splits.count(Split.GATE)
    assert rows["gate prompts"] == (gate, 40 - gate)
    assert rows["train prompts"] == (splits.count(Split.TRAIN), 64 - splits.count(Split.TRAIN))
    assert rows["labels: gate judge"] == (0, 50)


def prompt_of(number: int) -> tuple[Message, ...]:
    return tuple(Message.model_validate(each) for each in native(number)["messages"])


def test_a_store_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    """What is checked is the configuration: it holds, and what the store has is not counted."""
    path = write(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "rlaifd.db").write_bytes(b"something else entirely")
    found = check(path)
    assert found["ok"]
    (note,) = [note for note in found["notes"] if "is not a database that rlaifd made" in note]
    assert note.endswith("what it holds is not counted here")
    assert found["forecast"]["basis"].startswith("expected from the configuration alone")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no config.json"),
        ({"model.gguf": ""}, "a GGUF file and no config.json"),
        ({"config.json": '{"model_type": "llama"}', "pytorch_model.bin": ""}, "weights as pickles"),
        ({"config.json": '{"model_type": "mistral3", "vision_config": {"a": 1}}'}, "mistral3 is multimodal"),
    ],
)
def test_a_base_model_that_cannot_be_trained_is_told(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    """Before a judge is paid: place, key and fix. What needs no base model is not refused for it."""
    path = write(tmp_path)
    for file in (tmp_path / "base").iterdir():
        file.unlink()
    for name, body in files.items():
        (tmp_path / "base" / name).write_text(body)
    with pytest.raises(ConfigError, match=f"^{path}: policy.base_model: {tmp_path}/base.*{said}") as caught:
        check(path)
    assert caught.value.exit_code == 2
    with wired(path, working=True) as parts:
        assert parts.settings.policy.base_model == str(tmp_path / "base")
