"""Several adapters on one base: who learns, who is frozen, and that the base is there once."""

import copy
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.training.errors import JobError

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

SHAPE = Lora(r=4, alpha=8)


@pytest.fixture
def roles(own_base: Any) -> Any:
    from policies.training.engines.roles import Roles
    from policies.training.model import lora

    return Roles(lora.fresh(own_base, SHAPE), own_base.tokenizer.pad_token_id)


def disturb(roles: Any, role: str, seed: int) -> None:
    """Gives a role weights of its own."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in roles.weights(role).values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)


def logits(roles: Any, role: str | None) -> Any:
    import torch

    with roles.acting(role) as model, torch.no_grad():
        return model(input_ids=torch.tensor([[7, 8, 9, 10]])).logits


def test_a_switch_takes_no_gradient_away(roles: Any) -> None:
    """Both trained roles have gradients after a backward pass that other roles acted in between.

    PEFT alone would leave the critic's out: it freezes whatever is not active.
    """
    import torch

    roles.add("critic", like="default", seed=1, trained=True)
    roles.add("reward0", like="default", seed=2, trained=False)
    for number, role in enumerate(("default", "critic", "reward0")):
        disturb(roles, role, number)
    ids = torch.tensor([[7, 8, 9, 10]])
    with roles.acting("critic") as model:
        first = model(input_ids=ids).logits.square().mean()
    with roles.acting(None), torch.no_grad():
        roles.model(input_ids=ids)
    with roles.acting("default") as model:
        second = model(input_ids=ids).logits.square().mean()
    logits(roles, "reward0")
    (first + second).backward()
    for role, trained in (("default", True), ("critic", True), ("reward0", False)):
        assert [value.grad is not None for value in roles.weights(role).values()] == [trained] * 28
        assert all(value.requires_grad is trained for value in roles.weights(role).values())


def test_roles_answer_as_themselves_and_the_base_as_it_was(roles: Any, own_base: Any) -> None:
    """Each adapter speaks alone; with none the base does, whatever was added."""
    import torch

    before = logits(roles, None)
    assert torch.equal(logits(roles, "default"), before), "a new adapter is the base"
    disturb(roles, "default", 0)
    roles.copy("default", "ref", trained=False)
    assert roles.reference == "ref"
    assert torch.equal(logits(roles, "ref"), logits(roles, "default"))
    disturb(roles, "default", 1)
    assert not torch.equal(logits(roles, "ref"), logits(roles, "default"))
    assert torch.equal(logits(roles, None), before)


def test_a_new_adapter_comes_from_its_seed_alone(roles: Any) -> None:
    """Same seed, same weights, whatever torch has drawn before; and nothing of torch's is used up."""
    import torch

    state = torch.random.get_rng_state()
    roles.add("one", like="default", seed=3, trained=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    roles.add("two", like="default", seed=3, trained=False)
    pairs = zip(roles.weights("one").values(), roles.weights("two").values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_an_adapter_that_does_not_fit_is_refused(roles: Any, own_base: Any, tmp_path: Path) -> None:
    """Weights that PEFT could not place, or are not there, are an error and not a silent base."""
    from safetensors.torch import load_file, save_file

    from policies.training.model import lora

    lora.save(roles.model, tmp_path / "whole", own_base)
    weights = tmp_path / "whole" / "adapter_model.safetensors"
    tensors = load_file(str(weights))
    lost = next(iter(tensors))
    save_file({name: value for name, value in tensors.items() if name != lost}, str(weights))
    with pytest.raises(JobError, match="does not fit LlamaForCausalLM: it lacks weights"):
        roles.load("reward0", tmp_path / "whole", own_base)
    with pytest.raises(JobError, match="nowhere"):
        roles.load("reward1", tmp_path / "nowhere", own_base)


def test_there_is_one_copy_of_the_base_however_many_roles(roles: Any, own_base: Any) -> None:
    """Counted by storage: adapters add none, a second load and a deep copy are one more each."""
    from policies.training.engines import heads
    from policies.training.engines.roles import base_copies
    from policies.training.model import lora

    for role in ("critic", "reward0", "reward1", "ref"):
        roles.add(role, like="default", seed=0, trained=False)
    head = heads.fresh(32, 0, own_base.device)
    assert base_copies(roles.model, head, heads.Scorer(roles.model, head)) == 1
    second = lora.load(own_base.name, None, "cpu").model
    assert base_copies(roles.model, second) == 2
    assert base_copies(roles.model, second, copy.deepcopy(second)) == 3
