"""What the base model's tokenizer can do is said by `rlaifd check`, before a judge is paid."""

import shutil
from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.wiring.check import check
from tests.daemon.configuration import TEXT, write
from tests.families import FAMILIES, build

pytestmark = [pytest.mark.training]


def with_base(directory: Path, base: Path) -> Path:
    return write(directory, TEXT.replace("base_model: base", f"base_model: {base}"))


def test_a_base_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """Nothing could be sampled or trained with it, and judging would be paid for in vain."""
    with pytest.raises(ConfigError, match=r"policy\.base_model: .*/base holds no tokenizer, none of "):
        check(write(tmp_path))


def test_what_the_template_cannot_show_is_a_note(tmp_path: Path) -> None:
    """Llama 3's first template knows neither tools nor thoughts."""
    notes = check(with_base(tmp_path, build(FAMILIES["llama"], tmp_path / "llama")))["notes"]
    told = [each for each in notes if each.startswith("policy.base_model: ")]
    assert told
    assert all("\n" not in each for each in told)


def test_a_template_that_cannot_be_trained_with_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Exit code 2, one line that names the key and what to look at."""
    base = tmp_path / "endless"
    shutil.copytree(tiny_model, base)
    (base / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    with pytest.raises(ConfigError, match=r"policy\.base_model: .*no token at which sampling stops"):
        check(with_base(tmp_path, base))
