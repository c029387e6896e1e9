"""The stages as commands run them, to their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.cli.operate import _status_text
from daemon.cli.rollout import _adapters_text
from daemon.errors import UsageError
from daemon.status import listing
from daemon.store.tables import EvaluationRow, SnapshotRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies import answers
from policies.answers import Answer
from policies.records import Message, Role
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_adapter, put, put_in_force, rows
from tests.judges import SMALL


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Wiring]:
    parts = Wiring(settings(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def test_every_adapter_is_listed(parts: Wiring) -> None:
    """However many there are, with the one that is in force."""
    names = [f"support-agent-{number:012x}" for number in range(12)]
    for name in names:
        add_adapter(parts.store, name)
    put_in_force(parts.store, names[3], epoch=1)

    found = listing.adapters(parts.store)

    assert sorted(each["name"] for each in found) == names
    assert [each["name"] for each in found if each["in_force"]] == [names[3]]
    assert {each["cut_off"] for each in found} == {None}


def test_an_adapter_shows_how_often_its_answers_were_cut_off(parts: Wiring) -> None:
    """Of the last attempt, against the stable policy's; an older attempt has its prompts for answers."""
    add_adapter(parts.store, "support-agent-000000000000")
    evidence = {"prompts": 60, "answered": 58, "truncated_candidate": 15, "truncated_stable": 28}
    columns = {"adapter": "support-agent-000000000000", "reasons": ["r"], "created_at": 0.0}
    for before in (evidence, {name: evidence[name] for name in evidence if name != "answered"}):
        put(parts.store, EvaluationRow, state="decided", decision="hold", evidence=before, **columns)
        (found,) = listing.adapters(parts.store)
        answered = before.get("answered", 60)
        assert found["cut_off"] == {"answered": answered, "candidate": 15, "stable": 28}
        said = f"cut off: 15 of {answered} answers, 28 of {answered} of the stable policy's"
        assert said in _adapters_text([found])
        assert said in _status_text(parts.status())


def test_a_role_without_a_judge_judges_nothing(parts: Wiring) -> None:
    """It is passed over, not an error."""
    parts.named = (SMALL,)

    assert by_hand.judge(parts, Role.GATE) == {}


def said(role: str) -> tuple[Message, ...]:
    return (Message.model_validate({"role": role, "content": "hello"}),)


def test_a_file_of_answers_is_taken_in(parts: Wiring, tmp_path: Path) -> None:
    """With a row of its own that says which answers it holds; a file that is neither is one line."""
    given = [Answer(kind="thumb", candidate=n, prompt=said("user"), answer=said("assistant")) for n in (4, 2)]
    name, path = answers.write(tmp_path / "elsewhere", "support-agent", given)
    assert by_hand._register(parts, path, note="given") == name
    (row,) = rows(parts.store, SnapshotRow)
    assert (row.id, row.pairs, row.candidate_ids, row.preference_ids) == (name, 2, [4, 2], [])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match="line 3: "):
        by_hand._register(parts, path, note="given")
