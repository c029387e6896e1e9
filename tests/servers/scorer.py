"""A resident judge without a model: `python scorer.py JOB.json`. A word of an answer is a point, up to ten.

It speaks the real one's protocol. An answer of `unshowable` is refused, at `hang` it says nothing more,
`fail` is a question that it cannot answer, and a job whose base model is `absent` cannot be loaded. It takes
10 ms an answer, so that there is a moment to kill it in.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def say(**what: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def answer(ask: dict[str, Any]) -> None:
    """One question."""
    texts = [each["answer"][0]["content"] for each in ask["answers"]]
    if "hang" in texts:
        time.sleep(3600)
    if "fail" in texts:
        say(event="failed", id=ask["id"], reason="RuntimeError: out of memory")
        return
    time.sleep(0.01 * len(texts))
    refused = {place: "it cannot be shown" for place, text in enumerate(texts) if text == "unshowable"}
    rewards = [
        None if place in refused else min(10.0, float(len(text.split()))) for place, text in enumerate(texts)
    ]
    say(event="scores", id=ask["id"], rewards=rewards, refused=refused)


def main() -> None:
    """Until standard input ends."""
    job = json.loads(Path(sys.argv[1]).read_bytes())
    if job["base_model"] == "absent":
        say(event="failed", reason="absent: no such model")
        sys.exit(1)
    say(event="ready")
    for line in sys.stdin:
        answer(json.loads(line))


if __name__ == "__main__":
    main()
