"""A judge server in a process of its own, so that what it costs is not taken for its client's work."""

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from policies.judging.prompts import ParsedCase
from tests.servers.judge import JudgeServer


def text(number: int) -> str:
    """The answer that is judged after the latency of this number."""
    return f"Your parcel left the depot this morning, and you will have it by Thursday: case {number}"


@contextlib.contextmanager
def paced(latencies: Sequence[float]) -> Iterator[str]:
    """Serves while the context lasts; its address. `text(n)` is answered after `latencies[n]` seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(tuple(latencies), there))
    server.start()
    try:
        yield str(here.recv())
    finally:
        here.send("end")
        server.join()


def _serve(latencies: Sequence[float], pipe: Connection) -> None:
    def latency(case: ParsedCase) -> float:
        return latencies[int(case.answers[0].rsplit(" ", 1)[1])]

    with JudgeServer(latency=latency) as server:
        pipe.send(server.openai_url)
        pipe.recv()
