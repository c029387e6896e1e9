"""A hundred thousand damaged payloads of every format; and ten times the size costs ten times as long.

Every decoder is asked by content and by its name. Figures: `payloads_mutated`, `payloads_failed` (a decoder's
own bug, or anything raised) and, for each shape of payload, seconds at 1 MB over seconds at 100 KB.
"""

import gc
import json
import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from connectors.decoders.detect import Decoders
from tests.connectors.decoders.growing import SHAPES
from tests.connectors.decoders.mutations import mutated, values
from tests.connectors.decoders.test_mutations import NAMES, judged
from tests.soak.bounds import BoundsBrokenError, Figures, within

PAYLOADS = 100_000
SMALL, LARGE = 100_000, 1_000_000
"""Bytes."""
MOST = 10 * 1.5
ROUNDS = 9


def run() -> Figures:
    """Raises BoundsBrokenError."""
    figures: Figures = {"payloads_mutated": 0.0}
    failed: list[str] = []

    @settings(
        max_examples=PAYLOADS, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(seed=st.integers(0, 2**64), value=values)
    def every(seed: int, value: Any) -> None:
        rng = random.Random(seed)
        raw = mutated(rng, value)
        figures["payloads_mutated"] += 1
        try:
            judged(raw, "auto")
            judged(raw, rng.choice(NAMES))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            failed.append(f"{error!r:.200}: {raw[:1000]!r}")

    every()
    figures["payloads_failed"] = float(len(failed))
    if failed:
        raise BoundsBrokenError(figures, [failed[0]])
    bounds = {"payloads_mutated": (0.99 * PAYLOADS, 2.0 * PAYLOADS), "payloads_failed": (0.0, 0.0)}
    for name, shape in SHAPES.items():
        figure = f"payload_growth_{name.replace(' ', '_')}"
        figures[figure] = _growth(shape)
        bounds[figure] = (0.0, MOST)
    return within(figures, bounds)


def _growth(shape: Callable[[int], Any]) -> float:
    """Seconds at the large size over seconds at the small one, both as they would be at exactly that size.

    The least of rounds that take turns: what else the machine does only adds, and to both alike.
    """
    decoders, raw = Decoders(), {size: _sized(shape, size) for size in (SMALL, LARGE)}
    least = dict.fromkeys(raw, float("inf"))
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for size, payload in raw.items():
                cost = _cost(decoders, payload) * size / len(payload)
                least[size] = max(min(least[size], cost), 1e-6)
    finally:
        gc.enable()
    return least[LARGE] / least[SMALL]


def _sized(shape: Callable[[int], Any], size: int) -> bytes:
    """A payload of about so many bytes."""
    per = (len(_raw(shape(2000))) - len(_raw(shape(1000)))) / 1000
    return _raw(shape(max(1, int(size / per))))


def _raw(made: Any) -> bytes:
    return (made if isinstance(made, str) else json.dumps(made)).encode()


def _cost(decoders: Decoders, raw: bytes) -> float:
    start = time.thread_time()
    decoders.decode(raw, source="s", timestamp=1.0)
    return time.thread_time() - start
