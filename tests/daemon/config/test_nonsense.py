"""No key of the configuration takes nonsense in silence."""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import ConfigError
from daemon.wiring.check import check
from policies import strictyaml
from tests.daemon.config import nonsense
from tests.daemon.configuration import write

Harmless = Callable[[Any], bool]


def between(low: float, high: float = float("inf")) -> Harmless:
    """A number in these bounds, or a text of one, as it comes from the environment."""

    def fine(value: Any) -> bool:
        try:
            number = float(value.replace("_", "") if isinstance(value, str) else value)
        except (TypeError, ValueError):
            return False
        return not isinstance(value, bool) and low <= number <= high

    return fine


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def switch(value: Any) -> bool:
    return isinstance(value, bool) or value in (0, 1, "yes", "on", "off")


def default(value: Any) -> bool:
    """What says nothing: the key's own default, or a section without a key."""
    return value is None or value in ({}, [])


RECIPE: dict[str, tuple[Harmless, str]] = {
    "lora.r": (between(1, 1024), "a smaller or larger adapter, which the gate compares"),
    "lora.alpha": (between(1, 65_536), "as above"),
    "lora.dropout": (between(0, 0.9), "as above"),
    "lora.target_modules": (text, "what is in no model ends the training with that line"),
    "sft_weight": (between(1, 1000), "stricter than shipped"),
    "learning_rate": (between(1e-9, 1), "what is too high is stopped by the guards"),
    "gradient_checkpointing": (switch, "memory against time"),
    "warmup_ratio": (between(0, 1), "a share of the steps"),
    "max_steps": (between(-1, 10_000_000), "what a person wrote"),
    "max_length": (between(16), "what is longer is left out, which is told"),
    "balance": (switch, "which of the two kinds weighs more"),
    "thumb_up_from": (between(-1e6, 1e6), "which thumbs are up, which the snapshot tells"),
    **dict.fromkeys(
        ("centring", "margin", "entropy_coefficient", "kl_gain", "lam"), (between(0, 1000), "0 is without it")
    ),
    **dict.fromkeys(
        ("warmup_steps", "critic_warmup_steps"),
        (between(0, 1_000_000), "what it learns, the gate decides on"),
    ),
    **dict.fromkeys(
        ("pessimism", "verdict_weight", "truncation_penalty"),
        (between(0, 100), "another reward, up to the ceiling"),
    ),
    **dict.fromkeys(("min_reward", "bad_to"), (between(0, 10), "which answers are learned from")),
    "label_weight": (between(0, 1000), "of people's pairs against judges'; 0 is without them"),
    **dict.fromkeys(("thumb_weight", "score_weight"), (between(0, 1000), "of sources against each other")),
    "*": (between(1e-4, 1_000_000), "a bad recipe is stopped by the guards"),
}
"""The keys of a recipe, wherever it is."""
HARMLESS: dict[str, tuple[Harmless, str]] = {
    "state_dir": (text, "any directory"),
    "sources.*.name": (text, "any name"),
    "sources.0.pattern": (text, "a pattern that no file matches shows as a source without records"),
    "sources.1.bootstrap_servers": (text, "a host that is not there: `check --live` tries it"),
    "sources.1.group_id": (text, "any group"),
    "sources.*.max_in_flight_*": (between(1), "less is slower"),
    "stages.join_*_s": (between(0, 1e9), "a part that comes after its trace was joined makes a revision"),
    "sources.*.keep": (between(0.001, 1), "what a person wrote is kept, and the rest is counted"),
    "sources.1.*_timeout_s": (between(0.1, 3600), "shorter gives up sooner"),
    "*.poll_s": (between(0.001, 3600), "seldom is later"),
    "judges.small.model": (text, "a model that is not there: `check --live` asks it"),
    "judges.small.family": (text, "a family that is no other's"),
    "judges.small.api_key": (text, "a wrong key: `check --live` tries it"),
    "judges.small.price.*": (between(0, 1e6), "what a person wrote is the price"),
    "judges.small.daily_budget_usd": (between(1e-4, 1e9), "what a person wrote is the budget"),
    "judges.small.concurrency": (between(1, 4096), "less is slower"),
    "judges.small.requests_per_minute": (between(0.01), "less is slower"),
    "judges.small.deadline_s": (between(0.01, 300), "shorter gives up sooner, and shows as timeouts"),
    "judges.small.attempts": (between(1, 100), "fewer puts back sooner"),
    "judges.small.temperature": (between(0, 2), "another judge"),
    "judges.small.pessimism": (between(0, 10), "another judge"),
    "judges.small.structured": (switch, "another judge"),
    "judges.small.logprobs": (switch, "another judge"),
    "policy.name": (text, "any name"),
    "policy.family": (text, "a family that is no other's"),
    "policy.served_as": (text, "any name"),
    "policy.judging.*_rate": (between(0.1, 1), "at least as much as shipped is judged"),
    "policy.judging.samples": (between(1, 32), "more noise, or more calls"),
    "policy.judging.ceiling": (between(2, 10), "not below the margin that pairs need"),
    "policy.judging.show_reasoning": (switch, "another judge"),
    "policy.sampling.candidates": (between(1, 16), "fewer answers to choose from"),
    "policy.sampling.temperature": (between(0.01, 2), "answers are more alike, or more random"),
    "policy.sampling.max_new_tokens": (between(1), "answers are cut off, which is counted and told"),
    "policy.sampling.model": (text, "a model that is not there: `check --live` asks it"),
    "policy.curation.min_margin": (between(2, 10), "stricter than shipped"),
    "policy.curation.min_difference": (between(0.1, 0.95), "stricter than shipped"),
    "policy.curation.max_source_share": (between(0, 0.0025), "stricter than shipped"),
    "policy.curation.max_source_pairs": (between(1, 10), "stricter than shipped"),
    "policy.curation.max_source_fair": (between(0.01, 2), "stricter than shipped"),
    "policy.curation.max_alike": (between(1, 4), "stricter than shipped"),
    "policy.curation.max_age_days": (between(0.01, 36_600), "fewer pairs, which is told"),
    "policy.curation.replay_share": (between(0, 0.99), "which pairs are drawn, which is told"),
    "policy.curation.mix.tag": (text, "a tag that no event has is one topic"),
    "policy.curation.mix.most": (between(0.001, 1), "fewer pairs, which is told"),
    "policy.curation.mix.shares": (lambda value: value == {"a": 1}, "a topic that may have all"),
    **{f"policy.{at}.{key}": why for at in ("recipe", "also.0") for key, why in RECIPE.items()},
    "policy.feedback.weights": (lambda value: value == {"a": 1}, "kinds against each other"),
    "policy.feedback.weights.*": (between(0, 1000), "kinds against each other"),
    "policy.feedback.rating_*": (between(-1e6, 1e6), "which ratings are good, which the snapshot tells"),
    "policy.feedback.sessions": (switch, "fewer kinds of feedback"),
    "policy.feedback.again_within_s": (between(0.001), "fewer or more retries, which have no weight"),
    "policy.release.max_loss": (between(0, 0.05), "stricter than shipped"),
    "policy.release.min_labels": (between(50), "stricter than shipped"),
    "policy.release.confidence": (between(0.95, 0.9999), "stricter than shipped"),
    "policy.guards.every_steps": (between(1, 50), "guards that look more often"),
    "policy.guards.samples": (between(8), "guards that see more"),
    "policy.guards.kl_nats.limit": (between(0.01, 20), "stricter than shipped"),
    "policy.guards.entropy_low_ratio.limit": (between(0.3, 0.99), "stricter than shipped"),
    "policy.guards.chosen_logp_drop_nats.limit": (between(0.01, 15), "stricter than shipped"),
    "policy.guards.divergence_steps": (between(1, 1_000_000), "at its end every run is sounded"),
    "policy.guards.divergence.limit": (between(0, 0), "the shipped one"),
    "policy.guards.divergence_prompts": (between(16, 1000), "more of the judge's money, by its budget"),
    "policy.halts.alignment_min_labels": (between(1, 50), "halts earlier than shipped"),
    "policy.halts.min_reward_sd": (between(0.1, 4), "stricter than shipped"),
    "policy.halts.reward_window": (between(10, 200), "halts earlier than shipped"),
    "policy.gate.min_win_rate": (between(0.5, 0.9), "as shipped, or stricter"),
    "policy.gate.max_kl_nats": (between(0.001, 10), "stricter than shipped"),
    "policy.gate.min_entropy_ratio": (between(0.5, 1), "stricter than shipped"),
    "policy.gate.max_entropy_ratio": (between(1, 2), "stricter than shipped"),
    "policy.gate.max_cut_excess": (between(0, 0.2), "stricter than shipped"),
    "training.launch.processes": (between(1, 64), "what there are no cards for ends the run"),
    "training.interval_s": (between(0.001), "how often it looks: `min_new_preferences` says when it trains"),
    "training.cooldown_s": (between(0), "a training begins later"),
    "training.bf16": (lambda value: value == "off", "one of its two values"),
    "training.memory_gb": (between(0.01), "what does not fit is refused with the figures"),
    "training.threads": (between(1, 4096), "slower"),
    "training.stall_s": (between(0.1), "a child is killed sooner, which is told"),
    "targets.0.path": (text, "any directory"),
    "targets.*.name": (text, "any name"),
    "rollout.auto_promote": (switch, "people promote then"),
    "rollout.lead": (switch, "SQLite without a leader is refused at the start"),
    "web.port": (between(0, 65535), "any port"),
    "web.token": (text, "on loopback: whoever is on this machine"),
    "stages.batch_records": (between(1, 500), "slower"),
    "stages.batch_s": (between(0.001, 60), "slower"),
    "stages.claim_batch": (between(1, 10_000), "slower"),
    "stages.sample_least": (between(1, 512), "a child is started more often"),
    "stages.sample_patience_s": (between(0.001), "a child is started more often"),
    "stages.pressure.disk_floor_mb": (between(0, 768), "a full disk is told, and nothing is lost"),
    "stages.pressure.disk_resume_mb": (between(512), "reading goes on later, which is told"),
    "stages.pressure.open_judgements_*": (between(0, 1e9), "reading pauses, which is told"),
    "stages.dead_letter_ratio": (between(1e-300, 0.05), "stricter than shipped"),
    "seed": (between(0, 2**32 - 1), "any number"),
}  # fmt: skip
"""By key: which values may pass without a word, and why they do no harm."""
SOME = 9
"""Each further recipe's key has one of so many values; all have them all together."""
NOTHING = {
    "store", "store.url", "sources.*.mapping", "sources.1.s*", "judges.small.*", "policy.*", "overrides", "training.*", "web",
    "web.*", "stages", "stages.pressure*", "log", "redaction*", "review", "review.reviewers",
}  # fmt: skip
"""Keys of which null or nothing is the default, or a section that may be empty."""


def harmless(name: str, value: Any) -> bool:
    if default(value):
        return any(fnmatch.fnmatchcase(name, key) for key in NOTHING)
    return next((fine(value) for key, (fine, _) in HARMLESS.items() if fnmatch.fnmatchcase(name, key)), False)


@pytest.mark.parametrize(
    "section", ["sources", "judges", "policy", "training", "rollout", "targets", "web", "stages", "others"]
)
def test_nonsense_is_refused_or_told_by_its_key_or_harmless(tmp_path: Path, section: str) -> None:
    """Every key of the schema with every nonsense value, one at a time: a line that names the key refuses
    it, a note of `check` names it, or the table above says why it does no harm. Nothing crashes. The keys of
    a further recipe are those of the first: of these each has some of the values.
    """
    write(tmp_path)
    heads = ("sources", "judges", "policy", "training", "rollout", "targets", "web", "stages")
    keys = [
        key
        for key in nonsense.every_key()
        if (key.place[0] if key.place[0] in heads else "others") == section
    ]
    assert keys
    silent = [
        f"{key.name}: {spelt}"
        for number, key in enumerate(keys)
        for spelt in _values(key, number)
        if not _spoken(tmp_path, key, spelt) and not harmless(key.name, _value(spelt))
    ]
    assert not silent, "\n".join(silent)


def _values(key: nonsense.Key, number: int) -> list[str]:
    every = list(dict.fromkeys([*map(nonsense.spelt, nonsense.VALUES), *nonsense.PLAIN]))
    return every[number % SOME :: SOME] if key.name.startswith("policy.also.0") else every


def _spoken(directory: Path, key: nonsense.Key, spelt: str) -> bool:
    """Whether a refusal or a note names the key, or its section and what in it."""
    path = nonsense.write(directory, key.written(spelt))
    try:
        found = check(path, inspect=lambda _: [])
    except ConfigError as error:
        section, _, leaf = key.name.rpartition(".")
        named = key.name in str(error) or (section in str(error) and leaf in str(error))
        return named and "\n" not in str(error)
    said = [*found["notes"], str(found["forecast"]), str(found["readiness"])]
    return any(key.name in each for each in said)


def _value(spelt: str) -> Any:
    return strictyaml.read(f"value: {spelt}\n")["value"]
