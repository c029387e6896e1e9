"""Kill -9 of a process that writes: what `write` answered for is there, whole, and nothing else is broken."""

import contextlib
import random
import subprocess
import sys
import time

from sqlalchemy import text

from daemon.store import ledger
from daemon.store.store import Store

KILLS = 8
CHILD = """
import sys
import uuid
from sqlalchemy import text
from daemon.store import ledger, spend
from daemon.store.spend import Hold
from daemon.store.store import Store

store = Store(sys.argv[1])

def work(connection):
    spend.reserve(connection, Hold(uuid.uuid4().hex, "2026-11-21", "small", 1.0, 1, 0.0), limit=None)
    return ledger.append(
        connection, at=1.0, actor="child", action="spend", subject="small", reason="test", detail={}
    )

while True:
    print(store.write(work), flush=True)
"""


def killed(url: str, after_s: float) -> int:
    """Runs the writer, kills it some time after its first answer; its last answered entry."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        first = child.stdout.readline()
        time.sleep(after_s)  # the moment of the kill, not a wait for something
        child.kill()
        lines = (first + child.stdout.read()).splitlines(keepends=True)
    return max(int(line) for line in lines if line.endswith("\n"))


def test_a_killed_writer_loses_nothing_that_it_answered_for(store: Store) -> None:
    """Entry and money commit together; at most the one write under way is there unanswered."""
    url = store.url.render_as_string(hide_password=False)
    moments = random.Random(7)
    for _ in range(KILLS):
        answered = killed(url, moments.uniform(0.0, 0.15))
        report = store.write(ledger.verify)
        assert report.broken_at is None
        assert report.entries in {answered, answered + 1}
        spent = store.read(lambda c: c.execute(text("SELECT calls, reserved_usd FROM spend")).one())
        assert tuple(spent) == (report.entries, float(report.entries))
