"""The configuration is parsed once, strictly; what is wrong with it is one line."""

from pathlib import Path

import pytest

from daemon.config.secret import alert_token, secret
from daemon.config.settings import JsonlConfig, KafkaConfig, load
from daemon.errors import ConfigError
from policies.policy import EndpointSampling
from tests.daemon.configuration import TEXT, settings, write


def refused(directory: Path, text: str) -> str:
    """The one line with which a text is refused."""
    with pytest.raises(ConfigError) as caught:
        load(write(directory, text))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Every path in the file is resolved against the file's own directory."""
    loaded = settings(tmp_path)
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.rollout.file == tmp_path / "rollout.yaml"
    assert loaded.store_url == f"sqlite:///{tmp_path}/state/rlaifd.db"
    assert loaded.policy.base_model == str(tmp_path / "base")


def test_paths_in_the_sections_are_relative_to_the_file(tmp_path: Path) -> None:
    """Logs, secrets and one's own documents too; a shipped document's name stays one."""
    sampling = (
        '  sampling: {type: openai, base_url: "http://127.0.0.1:1/v1", model: m, api_key_file: keys/s}\n'
    )
    text = TEXT.replace("  base_model: base\n", "  base_model: base\n  rubric: ./ours.yaml\n" + sampling)
    kafka = "{type: kafka, name: k, bootstrap_servers: b, topics: [t], ssl_cafile: ca.pem}"
    loaded = settings(tmp_path, text.replace("policy:\n", f"  - {kafka}\npolicy:\n"))
    assert isinstance(loaded.policy.sampling, EndpointSampling)
    assert loaded.policy.sampling.api_key_file == tmp_path / "keys" / "s"
    assert loaded.policy.rubric == str(tmp_path / "ours.yaml")
    assert loaded.policy.constitution == "helpful"
    logs, topic = loaded.sources
    assert isinstance(logs, JsonlConfig)
    assert isinstance(topic, KafkaConfig)
    assert (logs.path, topic.ssl_cafile, topic.ssl_keyfile) == (tmp_path / "logs", tmp_path / "ca.pem", None)


def test_a_typo_is_refused_with_its_place(tmp_path: Path) -> None:
    """An unknown key names itself."""
    message = refused(tmp_path, TEXT.replace("state_dir:", "state_dirr:"))
    assert message.startswith(f"{tmp_path}/rlaifd.yaml: state_dirr: unknown key")


def test_a_nested_typo_is_refused_with_its_place(tmp_path: Path) -> None:
    """An unknown key inside a judge names the whole path to it."""
    assert "judges.small.modle" in refused(
        tmp_path, TEXT.replace("type: openai, model: small", "type: openai, modle: small")
    )


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """A judge without a family is refused: it is never guessed."""
    message = refused(tmp_path, TEXT.replace("model: small-judge, family: gpt,", "model: small-judge,"))
    assert "judges.small.family: is required and missing" in message


def test_a_judge_of_the_policys_family_is_refused(tmp_path: Path) -> None:
    """A policy is never its own judge, whatever the letter case."""
    message = refused(
        tmp_path, TEXT.replace("model: large-judge, family: gpt", "model: large-judge, family: Llama")
    )
    assert "a policy is never its own judge" in message


def test_the_own_family_can_be_overridden_by_name(tmp_path: Path) -> None:
    """The override that names the rule lets the judge through."""
    text = TEXT.replace("model: large-judge, family: gpt", "model: large-judge, family: llama")
    assert settings(tmp_path, text.replace("web:", "overrides: [judge-of-own-family]\nweb:"))


def test_a_gate_of_the_training_judges_family_is_refused(tmp_path: Path) -> None:
    """The gate's judge is of another family than the judge that made the training data."""
    assert "judges.gate.family" in refused(tmp_path, TEXT.replace("family: claude", "family: gpt"))
    large = TEXT.replace("model: large-judge, family: gpt", "model: large-judge, family: claude")
    assert "judges.large" in refused(tmp_path, large)


@pytest.mark.parametrize("cut", range(0, len(TEXT) - 1, 7))
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    """No prefix of the file is taken for a configuration."""
    assert "cut off" in refused(tmp_path, TEXT[:cut])


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    """One of them would never be read. Also where the name is the default's."""
    second = "  - {type: jsonl, path: other}\n"
    message = refused(tmp_path, TEXT.replace("policy:\n", second + "policy:\n"))
    assert "sources.1.name is that of sources.0 (agent)" in message
    named = second.replace("type: jsonl", "type: jsonl, name: other")
    assert len(settings(tmp_path, TEXT.replace("policy:\n", named + "policy:\n")).sources) == 2


@pytest.mark.parametrize("token", ["''", "' '", '"a\\nb"', "'a b'", '"kl\\u00fc"'])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_that_nobody_can_present_is_refused(tmp_path: Path, token: str, host: str) -> None:
    """Nobody would get in, and no alert either. The token itself is in no line."""
    web = f"web: {{host: {host}, token: {token}}}"
    assert "web.token: " in refused(tmp_path, TEXT.replace("web: {port: 0}", web))


def test_an_empty_token_from_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that was not filled in is a slip, not an open door."""
    monkeypatch.setenv("RLAIFD_WEB__TOKEN", "")
    assert "web.token: an empty text" in refused(tmp_path, TEXT)


def test_a_token_that_others_may_guess_is_refused(tmp_path: Path) -> None:
    """On an address that others reach; a file is looked at when it is read."""
    web = "web: {host: 0.0.0.0, token: canary-1}"
    message = refused(tmp_path, TEXT.replace("web: {port: 0}", web))
    assert "web.token: others than this machine may guess it" in message
    assert "canary-1" not in message
    (tmp_path / "token").write_text("canary-2\n")
    found = settings(tmp_path, TEXT.replace("web: {port: 0}", "web: {host: 0.0.0.0, token_file: token}"))
    with pytest.raises(ConfigError, match=r"web\.token_file: .*others than this machine may guess it"):
        alert_token(found.web)


def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    """Every call would break with it; the key has a place of its own."""
    text = TEXT.replace("http://127.0.0.1:1/v1", "http://u:canary-9@127.0.0.1:1/v1")
    message = refused(tmp_path, text)
    assert "judges.small.base_url: holds a user or a password" in message
    assert "canary-9" not in message


def test_the_key_is_the_one_that_was_written(tmp_path: Path) -> None:
    """Not the place in the schema: the members of unions are nobody's words."""
    assert "sources.0.poll_s: true is no value" in refused(
        tmp_path, TEXT.replace("path: logs", "path: logs, poll_s: true")
    )
    kafka = "{type: kafka, name: k, bootstrap_servers: b, topics: [t], sasl_username: u}"
    assert "sources.1.sasl_username: is set, and security_protocol is PLAINTEXT" in refused(
        tmp_path, TEXT.replace("policy:\n", f"  - {kafka}\npolicy:\n")
    )
    assert "sources.0.type: " in refused(tmp_path, TEXT.replace("type: jsonl", "type: csv"))
    listed = TEXT.replace("  base_model: base\n", "  base_model: base\n  recipe: [{beta: 0.2}, {}]\n")
    assert listed != TEXT
    assert "policy.recipe: method dpo is listed twice" in refused(tmp_path, listed)
    second = listed.replace("{}]", "{method: ppo, steps: -1}]")
    assert "policy.recipe.1.steps: " in refused(tmp_path, second)
    assert "policy.recipe.0.beta: " in refused(tmp_path, second.replace("beta: 0.2", "beta: -1"))


def test_claims_shorter_than_a_call_are_refused(tmp_path: Path) -> None:
    """Nothing would ever be judged."""
    message = refused(tmp_path, TEXT.replace("web:", "stages: {claim_s: 5}\nweb:"))
    assert "stages.claim_s (5) must be longer than judges.small.deadline_s (60)" in message


def test_a_non_loopback_bind_needs_a_token(tmp_path: Path) -> None:
    """An open alert webhook may only listen on loopback."""
    message = refused(tmp_path, TEXT.replace("web: {port: 0}", "web: {host: 0.0.0.0, port: 0}"))
    assert "web.host: 0.0.0.0 is not loopback and no token is set: set token_file" in message


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    """YAML would keep the last of two equal keys; here the line is named."""
    assert "line 3" in refused(
        tmp_path,
        TEXT.replace("sources:", "state_dir: other\nsources:").replace(
            "state_dir: state\n", "state_dir: state\n# note\n"
        ),
    )


def test_an_unpinned_hub_model_is_refused(tmp_path: Path) -> None:
    """A hub id needs the commit of its weights."""
    assert "policy.revision" in refused(tmp_path, TEXT.replace("base_model: base", "base_model: org/model"))
    branch = TEXT.replace("base_model: base", "base_model: org/model\n  revision: main")
    assert "policy.revision: main is no commit" in refused(tmp_path, branch)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RLAIFD_` variables win over the file, nested with two underscores."""
    monkeypatch.setenv("RLAIFD_WEB__PORT", "9999")
    assert settings(tmp_path).web.port == 9999


def test_an_unknown_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is an error, not silence."""
    monkeypatch.setenv("RLAIFD_WEBB__PORT", "9999")
    assert "RLAIFD_WEBB__PORT" in refused(tmp_path, TEXT)


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Neither repr nor a dump of the settings shows a key."""
    loaded = settings(tmp_path, TEXT.replace("api_key: k", "api_key: canary-3141"))
    assert "canary-3141" not in repr(loaded)
    assert "canary-3141" not in loaded.model_dump_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 5000 + "]" * 5000 + "\n...\n", "too deeply"),
        ("? {a: b}\n: 1\n...\n", "line 1, column 3: a key must be a word"),
        ("1: 2\n...\n", "1: a key must be a word"),
        (f"a: {'9' * 5000}\n...\n", "put such a value in quotes"),
        ("a: b\n" * (1 << 18) + "...\n", "longer than"),
        ("a: \0\n...\n", "unacceptable character"),
    ],
)
def test_yaml_that_is_none_of_ours_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Whatever YAML can be made to say, one line answers it."""
    assert said in refused(tmp_path, text)


def test_a_variable_that_is_not_json_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is at fault, not the file; the value may be a secret and is not shown."""
    monkeypatch.setenv("RLAIFD_SOURCES", "garbage")
    message = refused(tmp_path, TEXT)
    assert message.startswith("environment variable RLAIFD_SOURCES: not JSON")
    assert "garbage" not in message


def test_only_the_variable_for_the_file_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longer name is a typo."""
    monkeypatch.setenv("RLAIFD_CONFIG", "elsewhere.yaml")
    settings(tmp_path)
    monkeypatch.setenv("RLAIFD_CONFIGURATION", "elsewhere.yaml")
    assert "RLAIFD_CONFIGURATION: no such setting" in refused(tmp_path, TEXT)


def test_a_relative_sqlite_file_is_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a command runs, it opens the same database."""
    monkeypatch.setenv("RLAIFD_STORE__URL", "sqlite:///kept/r.db")
    assert settings(tmp_path).store_url == f"sqlite:///{tmp_path}/kept/r.db"
    for url in ("sqlite:////abs/r.db", "postgresql://u:p@h/d"):
        monkeypatch.setenv("RLAIFD_STORE__URL", url)
        assert settings(tmp_path).store_url == url


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nlines"])
def test_a_secrets_file_that_holds_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty or garbled file is named; its content is not shown."""
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^web\.token_file: .*key: .*secret") as caught:
        secret(None, file, key="web.token_file")
    assert "lines" not in str(caught.value)
