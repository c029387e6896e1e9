"""The deployment files: they load, they are complete, and they fit each other."""

import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from daemon.cli import templates
from daemon.config.judges import ChatJudgeConfig, LocalJudgeConfig
from daemon.config.settings import JsonlConfig, KafkaConfig, Settings, load
from daemon.config.yamlfile import read_yaml
from policies.recipes import DpoRecipe, KtoRecipe, PpoRecipe, RewardRecipe, SftRecipe
from policies.records import Frozen
from policies.rollout import RolloutSpec, parse

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
EXAMPLE = DEPLOY / "rlaifd.example.yaml"
ELSEWHERE = {"judges", "sources"}
"""Collections: their members are compared one by one."""


@pytest.mark.parametrize("name", ["rlaifd.example.yaml", "compose.rlaifd.yaml"])
def test_the_configurations_are_valid(name: str, tmp_path: Path) -> None:
    """Each loads as it is, with its document-end marker, its families apart and its listener guarded."""
    text = (DEPLOY / name).read_text().replace("base_model: /models/base ", f"base_model: {tmp_path} ")
    path = tmp_path / name
    path.write_text(text)
    assert load(path).judges


@pytest.mark.parametrize("name", ["rlaifd.example.yaml", "compose.rlaifd.yaml", "init"])
def test_the_judges_that_reason_are_asked_as_they_can_be(name: str, tmp_path: Path) -> None:
    """A temperature is refused by the provider, and a small limit is used up before the answer begins."""
    path = DEPLOY / name if name != "init" else templates.write(tmp_path)[0]
    judges = [ChatJudgeConfig.model_validate(judge) for judge in read_yaml(path)["judges"].values()]
    reasoning = [judge for judge in judges if judge.model.startswith("gpt-5")]
    assert len(reasoning) == 2
    assert all(judge.temperature is None and judge.max_tokens >= 4096 for judge in reasoning)


def test_the_example_rollout_is_valid() -> None:
    """It names the base model."""
    assert parse(read_yaml(DEPLOY / "rollout.example.yaml")) == RolloutSpec(stable=None)


def submodel(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation; of a union the first one."""
    for found in (annotation, *typing.get_args(annotation)):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def differences(
    model: type[BaseModel], written: dict[str, Any], lines: list[str], at: str = "", default: Any = None
) -> list[str]:
    """Keys that the example lacks, and values that are neither defaults nor said to be examples."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        place = f"{at}.{name}".lstrip(".")
        if place in ELSEWHERE:
            continue
        if name not in written:
            found.append(f"{place} is missing")
            continue
        usual = field.get_default(call_default_factory=True) if default is None else getattr(default, name)
        below = submodel(field.annotation)
        if below is not None and isinstance(written[name], dict):
            usual = usual if isinstance(usual, BaseModel) else None
            found += differences(below, written[name], lines, place, usual)
            continue
        required = field.is_required() and default is None
        said = any(re.match(rf"\s*{name}:.*#.*(example|default:)", line) for line in lines)
        if not required and not said and not same(usual, written[name]):
            found.append(f"{place} is {written[name]!r}, its default is {usual!r}")
    return found


def same(default: Any, written: Any) -> bool:
    if isinstance(default, Path):
        return str(default) == str(written)
    if isinstance(default, tuple) and default and isinstance(default[0], BaseModel):
        return bool([each.model_dump(mode="json") for each in default] == written)
    return bool(default == (tuple(written) if isinstance(written, list) else written))


def test_the_example_shows_every_key_with_its_default() -> None:
    """A new key is written here too, or this fails; what is not a default says that it is an example."""
    document, lines = read_yaml(EXAMPLE), EXAMPLE.read_text().splitlines()
    found = differences(Settings, document, lines)
    for source in document["sources"]:
        model = KafkaConfig if source["type"] == "kafka" else JsonlConfig
        found += differences(model, source, lines, f"source of type {source['type']}")
    found += differences(ChatJudgeConfig, document["judges"]["quick"], lines, "a judge")
    assert found == []


def test_compose_names_only_files_that_exist() -> None:
    """Every mounted path of the repository is there; everything listens on loopback only."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"rlaifd", "kafka", "postgres", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_compose_and_its_configuration_fit() -> None:
    """Secrets, names and addresses in rlaifd's configuration are those of the other services."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    written = read_yaml(DEPLOY / "compose.rlaifd.yaml")
    given = {f"/run/secrets/{name}" for name in compose["services"]["rlaifd"]["secrets"]}
    files = {judge["api_key_file"] for judge in written["judges"].values()} | {written["web"]["token_file"]}
    assert files == given
    assert set(compose["secrets"]) == set(compose["services"]["rlaifd"]["secrets"])
    alertmanager = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    assert f"credentials_file: {written['web']['token_file']}" in alertmanager
    assert "rlaifd" in written["web"]["names"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    assert jobs["rlaifd"] == ["rlaifd:9464"]
    assert written["sources"][0]["bootstrap_servers"] in str(compose["services"]["kafka"]["environment"])


def test_the_image_copies_what_exists() -> None:
    """Every file that the Dockerfile copies is in the repository, and it does not run as root."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    for source in (source for sources in copies for source in sources):
        assert (ROOT / source).exists(), source
    assert any(line == "USER rlaifd" for line in lines)


def test_the_unit_is_guarded() -> None:
    """It reports readiness, is watched, does not restart on a wrong configuration, and is confined."""
    text = (DEPLOY / "rlaifd.service").read_text()
    for line in (
        "Type=notify",
        "WatchdogSec=60",
        "RestartPreventExitStatus=2",
        "KillMode=control-group",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ):
        assert line in text.splitlines()
    started = {line.partition("=")[0] for line in text.splitlines() if line.startswith("Exec")}
    assert started == {"ExecStart"}, "what another Exec ends with is not looked at, and nothing is reloaded"


def test_the_example_shows_the_keys_that_a_local_judge_alone_has() -> None:
    """In comments, with their defaults; it has no other key than those named there."""
    lines = "\n".join(line for line in EXAMPLE.read_text().splitlines() if line.startswith("    #"))
    shared = LocalJudgeConfig.model_fields.keys() & ChatJudgeConfig.model_fields.keys()
    own = LocalJudgeConfig.model_fields.keys() - shared
    for name in own:
        assert f"# {name}: {LocalJudgeConfig.model_fields[name].default} " in lines
    told = lines[lines.index("It has") : lines.index("and:")]
    assert shared - {"type"} == {name for name in shared if name in told}
    assert all(name not in told for name in ChatJudgeConfig.model_fields.keys() - shared)


@pytest.mark.parametrize(
    ("method", "recipe"),
    [("sft", SftRecipe), ("kto", KtoRecipe), ("reward", RewardRecipe), ("ppo", PpoRecipe)],
)
def test_the_example_tells_the_other_methods_keys_with_their_defaults(
    method: str, recipe: type[Frozen]
) -> None:
    """As comments below the recipe's: each key that DPO's has not, or has with another default."""
    text = EXAMPLE.read_text(encoding="utf-8").partition(f"# method: {method} has")[2]
    block = text.partition("# method:")[0].partition("\n  also:")[0]
    lines = [line.partition("# ")[2] for line in block.splitlines()[1:]]
    told = yaml.safe_load("\n".join(line for line in lines if line))
    plain, usual = (each().model_dump(mode="json") for each in (recipe, DpoRecipe))
    own = {name for name in plain if name not in usual or plain[name] != usual[name]}
    assert told == {name: plain[name] for name in own - {"method", "start"}}
