"""The customers' thumbs in the demo's log."""

import random

from daemon.demo.agent_log import events
from daemon.demo.clicks import clicked
from daemon.demo.world import customers, good_reply, rude_reply
from policies.training.toy.agent import ToyAnswers


def test_few_click_and_most_of_them_complain() -> None:
    """The rude are never thanked, the willing sometimes, and the same click comes again."""
    chance = random.Random(0)
    cases = customers(0)[:600]
    rude = [clicked(case.prompt, rude_reply(case, chance), 1) for case in cases]
    answers = [good_reply(case, chance) for case in cases]
    willing = [clicked(case.prompt, answer, 1) for case, answer in zip(cases, answers, strict=True)]
    complaints = [thumb["score"] == 0 for (thumb,) in filter(None, rude)]
    assert 120 < len(complaints) < 240
    assert sum(complaints) > 0.95 * len(complaints)
    ups = [thumb["score"] for (thumb,) in filter(None, willing)]
    assert 20 < sum(ups) < 120
    assert willing == [clicked(case.prompt, answer, 1) for case, answer in zip(cases, answers, strict=True)]


def test_the_log_holds_them() -> None:
    """As the event's feedback."""
    case = customers(0)[0]
    said = ToyAnswers(id=1, answers=tuple(f"Whatever {number}." for number in range(20)), adapter=None)
    lines = events([case.prompt] * 20, said, first=0, seed=1)
    found = [line["feedback"] for line in lines]
    assert found == [clicked(case.prompt, answer, 1) for answer in said.answers]
    assert [{"name": "thumb", "score": 0}] in found
    assert [] in found
