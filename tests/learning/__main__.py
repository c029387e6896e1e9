"""`python -m tests.learning --method dpo --seed 0`: exit 0 only if the promoted adapter is surely better."""

import argparse
import sys
from pathlib import Path

from daemon import log
from daemon.demo.screen import Screen
from tests.learning import report
from tests.learning.commands import LearnError
from tests.learning.run import Learning
from tests.learning.settings import SIZES
from tests.servers import realmodel


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 better, 1 not, 2 asked for what there is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.learning", description=__doc__)
    parser.add_argument("--method", default="dpo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where it works; removed first")
    asked = parser.parse_args(arguments)
    if asked.method not in SIZES:
        sys.stderr.write(f"no method {asked.method!r}: there are {', '.join(SIZES)}\n")
        return 2
    directory = asked.directory or Path(".rlaifd") / "learn" / asked.method
    log.configure("warning", "auto")
    screen = Screen()
    try:
        base = realmodel.directory()
        with screen:
            outcome = Learning(
                method=asked.method, seed=asked.seed, directory=directory, base=base,
                sizes=SIZES[asked.method], screen=screen,
            ).run()  # fmt: skip
    except (LearnError, realmodel.UnavailableError) as error:
        screen.say(f"failed: {error}")
        return 1
    report.write(directory / "summary.json", outcome)
    report.show(screen.console, outcome)
    if outcome.failure:
        screen.say(f"failed: {outcome.failure}")
        return 1
    screen.say("the promoted adapter is better than the base")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
