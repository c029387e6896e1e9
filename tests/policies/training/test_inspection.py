"""A base model's tokenizer and template are tried out without its weights."""

import json
import shutil
from pathlib import Path

import pytest

from daemon.children.child import Child, ChildFailedError
from policies.training.jobs import InspectJob
from tests.dialects import DIALECTS, tokenizer_of
from tests.families import FAMILIES, POSITIONS, build

pytestmark = [pytest.mark.training]


def inspect(directory: Path, out: Path) -> object:
    from policies.training.inspection import run_inspect

    return run_inspect(InspectJob(out=out, base_model=str(directory)))


def test_a_sound_family_has_nothing_to_say(tmp_path: Path) -> None:
    """Thoughts, calls and results go both ways; the weights are not even there."""
    from policies.training.jobs import InspectResult

    directory = build(FAMILIES["qwen3"], tmp_path / "qwen3")
    (directory / "model.safetensors").unlink()
    found = inspect(directory, tmp_path)
    assert found == InspectResult(state="done", notes=(), positions=POSITIONS)


def test_what_a_family_cannot_do_is_said(tmp_path: Path) -> None:
    """A template without tools or thoughts is no obstacle, and it is told."""
    from policies.training.model import selftest
    from policies.training.model.rendering import Rendering
    from policies.training.model.responses import Responses

    rendering = Rendering(tokenizer_of(DIALECTS["llama3"]))
    found = selftest.examine(rendering, Responses(rendering))
    assert found.refusal is None
    assert found.notes == (
        "the chat template shows no thoughts: reasoning from logs is not trained on",
        "prompts with tool calls are left out: the chat template leaves out a tool call's arguments",
        "tool calls cannot be read from sampled text: they stay text",
    )


def test_a_template_without_an_end_is_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    """A model trained with it would never stop; the child says so, and which setting to look at."""
    directory = tmp_path / "endless"
    shutil.copytree(tiny_model, directory)
    (directory / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    with pytest.raises(
        ChildFailedError, match=r"inspect failed: .*no token at which sampling stops"
    ) as caught:
        Child(InspectJob(out=tmp_path / "job", base_model=str(directory))).run()
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "job" / "result.json").read_bytes())["state"] == "failed"


def test_a_model_that_cannot_be_trained_is_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    """Also one of a hub, whose configuration nobody has seen before."""
    from policies.training.errors import JobError

    directory = Path(shutil.copytree(tiny_model, tmp_path / "sight"))
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": "mistral3", "vision_config": {"hidden_size": 8}}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(JobError, match=r"config.json: model_type mistral3 is multimodal, and transformers"):
        inspect(directory, tmp_path)
