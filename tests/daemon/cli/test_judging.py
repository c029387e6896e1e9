"""`rlaifd judge`: what it says of each role, and that what another configuration mends can be asked again."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.cli.work import _judged_text, _left
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.outcomes import TRACE
from daemon.store.tables import CandidateRow, JudgementRow, LedgerRow, TraceRow, VerdictRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies.judging.judges import NamedJudge
from policies.records import Role, Split
from policies.states import Purpose
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.seeding import Within, add_trace, at_once, put, rows
from tests.judges import LARGE, SMALL
from tests.servers.provider import Provider, Reply, completion, refusal

WANTED: tuple[tuple[NamedJudge, Purpose], ...] = ((SMALL, Purpose.TRAFFIC), (LARGE, Purpose.AUDIT))
PRICED = "price: {input_per_million: 1000, output_per_million: 1000}"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(lambda asked: completion()) as running:
        yield running


def parts_of(directory: Path, provider: Provider, *, small: str = "") -> Wiring:
    """A daemon's parts whose judges are behind the provider; two judges of four are configured otherwise."""
    text = TEXT.replace("http://127.0.0.1:1/v1", provider.url)
    text = text.replace("model: small-judge,", f"model: small-judge, attempts: 1, {small}")
    parts = Wiring(settings(directory, text))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    return parts


def seed(parts: Wiring, answers: int) -> None:
    """Logged answers that the small and the large judge are to score."""

    def add(within: Within) -> None:
        for at in range(answers):
            add_trace(within, f"t{at}", Split.TRAIN, text=f"answer {at}")

    at_once(parts.store, add)
    wanted = [
        Wanted(judge, "score", purpose, row.trace_id, row.id)
        for row in rows(parts.store, CandidateRow)
        for judge, purpose in WANTED
    ]
    parts.store.write(lambda c: judgements.request(c, wanted, 0.0))


def small(found: Mapping[str, by_hand.JudgingResult]) -> by_hand.JudgingResult:
    return found["small"]


def text(found: Mapping[str, by_hand.JudgingResult]) -> str:
    return _judged_text({role: asdict(each) | {"reopened": 0} for role, each in found.items()})


def test_what_was_judged_abstained_and_put_back_is_told_apart(tmp_path: Path, provider: Provider) -> None:
    """With the reasons: an attempt that ended is no judgement made."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        case = asked["messages"][1]["content"]
        if "answer 1" in case:
            return refusal("Your input was flagged")
        return (503, {"error": "busy"}) if "answer 2" in case else completion()

    provider.answer = answer
    parts = parts_of(tmp_path, provider)
    seed(parts, 4)
    found = small(by_hand.judge(parts))
    assert found.judged == 2
    assert list(found.abstained.items()) == [("judge small: HTTP 400: Your input was flagged", 1)]
    assert list(found.put_back.items()) == [("judge small: HTTP 503: busy", 1)]
    said = text({"small": found})
    assert said == (
        "small: 2 judged, 1 abstained (judge small: HTTP 400: Your input was flagged), 1 put back"
    )
    assert _left(found) == "1 judgements wait: judge small: HTTP 503: busy"
    parts.close()


def test_a_judge_that_is_refused_stops_no_other(tmp_path: Path, provider: Provider) -> None:
    """The large one judges though the small one has no credit; the line and the key to change are told."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        if asked["model"] == "small-judge":
            return refusal("Your credit balance is too low")
        return completion()

    provider.answer = answer
    parts = parts_of(tmp_path, provider)
    seed(parts, 40)
    found = by_hand.judge(parts)
    assert (small(found).judged, sum(small(found).put_back.values())) == (0, 40)
    assert "credit balance is too low: see to the account of judges.small.api_key_file" in _left(small(found))
    assert found["large"].judged > 0
    assert len([each for each in provider.seen if each["model"] == "small-judge"]) <= 6
    parts.close()


def test_a_spent_budget_is_the_reason_that_is_told(tmp_path: Path, provider: Provider) -> None:
    """Nothing was tried, so that no judgement has a reason of its own."""
    parts = parts_of(tmp_path, provider, small=f"{PRICED}, daily_budget_usd: 0.5, ")
    seed(parts, 3)
    found = small(by_hand.judge(parts))
    assert found.judged == 0
    assert "raise judges.small.daily_budget_usd" in _left(found)
    assert not [each for each in provider.seen if each["model"] == "small-judge"]
    parts.close()


def test_what_another_configuration_mends_is_asked_again(tmp_path: Path, provider: Provider) -> None:
    """Once for each `--reopen`, in the ledger, and the prompt is curated anew; verdicts stay as they are."""
    flagged = [refusal("Your input was flagged")]
    provider.answer = lambda asked: (
        flagged[0] if "answer 1" in asked["messages"][1]["content"] else completion()
    )
    parts = parts_of(tmp_path, provider)
    seed(parts, 3)
    assert small(by_hand.judge(parts)).judged == 2
    parts.store.write(lambda c: c.execute(update(TRACE).values(curated_at=1.0)))
    flagged[0] = completion()
    assert by_hand.reopen(parts, actor="ann")["small"] == 1
    assert by_hand.reopen(parts, actor="ann")["small"] == 0, "what waits is not opened twice"
    curated = {row.event_id: row.curated_at for row in rows(parts.store, TraceRow)}
    assert curated == {"t0": 1.0, "t1": None, "t2": 1.0}
    found = small(by_hand.judge(parts))
    assert (found.judged, dict(found.abstained)) == (1, {})
    assert by_hand.reopen(parts, actor="ann")["small"] == 0, "it has its verdict"
    assert len([row for row in rows(parts.store, VerdictRow) if row.role == "small"]) == 4
    (entry,) = [row for row in rows(parts.store, LedgerRow) if row.subject == "small"]
    assert (entry.actor, entry.subject, entry.detail["judgements"]) == ("ann", "small", 1)
    parts.close()


def test_an_answer_that_could_not_be_read_waits_for_another_version(
    tmp_path: Path, provider: Provider
) -> None:
    """The same judge would write the same; another one, or another prompt, may not."""
    provider.answer = lambda asked: completion("I like it.")
    parts = parts_of(tmp_path, provider)
    seed(parts, 1)
    assert sum(small(by_hand.judge(parts)).abstained.values()) == 1
    assert by_hand.reopen(parts, actor="ann")["small"] == 0
    parts.close()
    other = parts_of(tmp_path, provider, small="max_tokens: 2048,")
    assert by_hand.reopen(other, actor="ann")["small"] == 1
    other.close()


def test_what_the_code_gave_up_is_opened_and_a_gates_comparison_is_not(
    tmp_path: Path, provider: Provider
) -> None:
    """A newer version of the code may not fail on it; an attempt at the gate is opened anew as a whole."""
    parts = parts_of(tmp_path, provider)
    seed(parts, 1)
    by_hand.judge(parts, Role.SMALL)
    done = rows(parts.store, JudgementRow)[0]
    of = {"trace_id": done.trace_id, "candidate_id": done.candidate_id}
    columns = {"judge": "small", "role": "small", "kind": "score", **of}
    for purpose in ("curate", "gate"):
        put(
            parts.store, JudgementRow, key=purpose, purpose=purpose, state="failed", created_at=0.0, **columns
        )
    assert by_hand.reopen(parts, actor="ann")["small"] == 1
    states = {row.key: row.state for row in rows(parts.store, JudgementRow)}
    assert (states["curate"], states["gate"]) == ("open", "failed")
    parts.close()


def test_many_reasons_are_told_by_their_number() -> None:
    """The most frequent first, the rest as one number."""
    reasons = {f"reason {at}": at for at in range(1, 8)}
    judged = by_hand.JudgingResult(0, reasons, {})
    said = text({"small": judged})
    assert said.startswith("small: 0 judged, 28 abstained (7: reason 7; 6: reason 6; ")
    assert said.endswith("; 6 for other reasons), 0 put back")
    assert _left(replace(judged, put_back={"": 3}, stopped="")) == "3 judgements wait"
