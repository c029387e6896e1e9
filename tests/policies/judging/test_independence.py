"""A policy is never its own judge, however the names are written."""

import pytest
from pydantic import ValidationError

from policies.judging.independence import JudgeIdentity, Override, problem
from policies.policy import EndpointSampling, PolicySpec
from policies.records import Role

POLICY = PolicySpec(name="p", family="llama", base_model="b")
URL = "http://127.0.0.1:8000/v1"


def judges(
    small: str = "gpt", gate: str = "claude", *, models: tuple[str, str] = ("s", "g")
) -> dict[str, JudgeIdentity]:
    return {
        "small": JudgeIdentity(Role.SMALL, small, models[0], URL),
        "gate": JudgeIdentity(Role.GATE, gate, models[1], URL),
    }


@pytest.mark.parametrize("family", ["Llama", "LLAMA", "llama-3.1", "llama_4", "Llama 3", "meta/llama"[5:]])
def test_a_family_is_told_by_its_name_without_case_separators_and_version(family: str) -> None:
    """Another version of a family is no other family."""
    said = problem(judges(small=family), POLICY, ())
    assert said is not None
    assert said.startswith(f"judges.small.family ({family}) is the policy's own (llama)")


@pytest.mark.parametrize(
    "family", ["llama ", "lla\u200bma", "\uff4c\uff4c\uff41\uff4d\uff41", "ll\u0430ma", "", " "]
)
def test_a_name_that_only_looks_different_is_refused(family: str) -> None:
    """Spaces, letters that are not seen, and letters of other scripts that look alike."""
    with pytest.raises(ValidationError):
        PolicySpec(name="p", family=family, base_model="b")


def test_families_that_are_different_are_let_in() -> None:
    """Also where one name begins like another."""
    assert problem(judges(), POLICY, ()) is None
    assert problem(judges("simulated-north", "simulated-south"), POLICY, ()) is None
    assert problem(judges("llamaindex", "command-r"), POLICY, ()) is None


def test_the_gate_is_of_another_family_than_who_made_the_training_data() -> None:
    """The large judge's verdicts are training data's audit: it counts too."""
    assert "judges.gate.family (gpt_4o) is that of judges.small (gpt-5)" in str(
        problem(judges("gpt-5", "gpt_4o"), POLICY, ())
    )
    three = judges() | {"large": JudgeIdentity(Role.LARGE, "Claude-4", "l", URL)}
    assert "judges.large" in str(problem(three, POLICY, ()))


@pytest.mark.parametrize("other", [URL, URL + "/", "http://127.0.0.1:8000/v1//"[:-1]])
def test_one_model_at_one_address_is_one_judge(other: str) -> None:
    """Whatever family is written beside it."""
    asked = {
        "small": JudgeIdentity(Role.SMALL, "one", "M", URL),
        "gate": JudgeIdentity(Role.GATE, "two", "m", other),
    }
    assert "judges.gate.model is that of judges.small" in str(problem(asked, POLICY, ()))
    apart = asked | {"gate": JudgeIdentity(Role.GATE, "two", "m", "http://127.0.0.1:8001/v1")}
    assert problem(apart, POLICY, ()) is None


def test_the_served_policy_itself_is_no_judge() -> None:
    """A judge that is asked where the candidates are sampled."""
    served = POLICY.model_copy(update={"sampling": EndpointSampling(type="openai", base_url=URL, model="s")})
    assert "judges.small.model is that of policy.sampling" in str(problem(judges(), served, ()))


@pytest.mark.parametrize(
    ("override", "small", "gate"),
    [("judge-of-own-family", "llama", "claude"), ("gate-of-training-family", "gpt", "gpt")],
)
def test_a_rule_is_set_aside_by_its_name(override: Override, small: str, gate: str) -> None:
    """And no other with it."""
    assert problem(judges(small, gate), POLICY, ()) is not None
    assert problem(judges(small, gate), POLICY, (override,)) is None
