"""`rlaifd judge evaluate`: lines of JSON or a table, exit codes, and `judge` beside it as it is alone."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import main
from daemon.cli.app import app
from daemon.wiring.parts import Wiring
from tests.daemon.configuration import settings
from tests.daemon.replay.made import JUDGE, rows, written

FIGURES = (
    "verdicts", "parse_rate", "hard_flip_rate", "agreement_single", "agreement_consistent", "coverage",
    "agreement_certain", "agreement_split", "human_ceiling", "length_baseline", "self_preference_gap",
)  # fmt: skip


def said(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the whole command, its one line for an error included."""
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr(sys, "argv", ["rlaifd", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


def test_a_judge_is_one_line_of_json(tmp_path: Path) -> None:
    """With no configuration anywhere."""
    files = rows()
    data = written(tmp_path / "data", files | {"judgments_other": files[JUDGE]})
    done = CliRunner().invoke(
        app, ["judge", "evaluate", "--data", str(data), "--json"], catch_exceptions=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.exit_code, [row["judge"] for row in found]) == (0, ["other", "x-9"])
    assert list(found[1])[:4] == ["judge", "verdicts", "parse_rate", "parse_rate_interval"]
    assert found[0]["self_preference_gap"] is found[0]["self_preference_gap_interval"] is None


def test_the_table_has_every_figure_of_every_judge(tmp_path: Path) -> None:
    """By its whole name, at any width; a judge's name is no markup."""
    files = rows()
    names = ("x-9", "z[red]", *(f"judge{at}" for at in range(4)))
    data = written(tmp_path / "data", files | {f"judgments_{name}": files[JUDGE] for name in names})
    done = CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["judge", "evaluate", "--data", str(data)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert [line.split()[1] for line in done.stdout.splitlines() if "_" in line or "verdicts" in line
            or "coverage" in line] == list(FIGURES)  # fmt: skip
    assert "z[red]" in done.stdout
    assert done.stdout.count("0.875") == len(names)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        ("nowhere", "is not a directory: name one with items.jsonl"),
        ("broken", f"{JUDGE}.jsonl:9: not one JSON object; mend or remove the line"),
        ("unknown", f"{JUDGE}.jsonl:9: no item x|y|q7; add it or remove the line"),
        ("silent", "items.jsonl: nobody voted: human_votes needs A, B or tie in one item at least"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoil: str, line: str
) -> None:
    """It names the place and the fix, and nothing is printed beside it."""
    files = rows()
    if spoil == "unknown":
        files[JUDGE].append({"pair_id": "x|y|q7", "order": "AB", "raw_text": "1"})
    if spoil == "silent":
        files["items"] = [item | {"human_votes": []} for item in files["items"]]
    data = written(tmp_path / "data", files)
    if spoil == "broken":
        with (data / f"{JUDGE}.jsonl").open("a") as file:
            file.write('{"pair_id": \n')
    where = data / "nowhere" if spoil == "nowhere" else data
    assert said(["judge", "evaluate", "--data", str(where), "--json"], monkeypatch) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"rlaifd: {data}")
    assert line in err


def test_an_option_of_judge_alone_is_refused_before_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not passed over in silence."""
    data = ["evaluate", "--data", str(written(tmp_path / "data", rows()))]
    for option in ("--json", "--reopen"):
        assert said(["judge", option, *data], monkeypatch) == 2
        assert f"{option} before evaluate is of judge alone" in capsys.readouterr().err


def test_judge_alone_has_all_its_options(tmp_path: Path) -> None:
    """It judges what is open: here nothing, and what it says is of each role."""
    parts = Wiring(settings(tmp_path))
    parts.prepare_store()
    parts.close()
    config = str(tmp_path / "rlaifd.yaml")
    runner = CliRunner()
    plain = runner.invoke(app, ["judge", "-c", config], catch_exceptions=False)
    assert plain.exit_code == 0, plain.output
    assert "small: 0 judged, 0 abstained, 0 put back" in plain.stdout
    options = ["--config", config, "--reopen", "--actor", "ann", "--json"]
    found = runner.invoke(app, ["judge", *options], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["small"] == {
        "judged": 0, "abstained": {}, "put_back": {}, "stopped": "", "reopened": 0,
    }  # fmt: skip
    nameless = runner.invoke(app, ["judge", "-c", config, "--actor", " "])
    assert nameless.exit_code == 2
