"""Templates: what texts that were made from one pattern have in common.

A template is fixed text with slots. It is learnt by widening: where a further text differs, a slot takes the
place of what is not common to both. Matching and widening cost about as much as the texts are long, whoever
wrote them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

Template = tuple[str, ...]
"""Fixed text, with a slot between two parts; an empty part at an end is a slot there. Words are separated by
one space, in parts and in texts.
"""
ALIKE = 8
"""Words of fixed text that two texts of one pattern share, where it is not half of the shorter one."""
RUN = 3
"""Fewer words in a row, away from the ends, are equal by chance."""


def fits(template: Template, text: str) -> bool:
    """Whether the text has all of the fixed parts, in order, and something else only in slots."""
    if len(template) == 1:
        return template[0] == text
    padded = f" {text} "
    first, *middle, last = (f" {part} " if part else " " for part in template)
    at, end = len(first) - 1, len(padded) - len(last)
    if not padded.startswith(first) or not padded.endswith(last):
        return False
    for part in middle:
        found = padded.find(part, at, end + 1)
        if found < 0:
            return False
        at = found + len(part) - 1
    return at <= end


def wider(template: Template, text: str) -> Template | None:
    """The template with slots where the text differs; None: they have too little in common."""
    ours, theirs = _words(template), text.split()
    pairs = _aligned(ours, theirs)
    runs = _runs(pairs, len(ours), len(theirs))
    common = sum(stop - start for start, stop in runs)
    fixed = sum(word is not None for word in ours)
    if not common or (common < ALIKE and 2 * common < min(fixed, len(theirs))):
        return None
    parts = [" ".join(theirs[start:stop]) for start, stop in runs]
    begins = runs[0][0] == 0 and pairs[0] == (0, 0)
    ends = pairs[-1] == (len(ours) - 1, len(theirs) - 1) and runs[-1][1] == len(theirs)
    return (*(() if begins else ("",)), *parts, *(() if ends else ("",)))


def _words(template: Template) -> list[str | None]:
    """The fixed words, None where a slot is."""
    words: list[str | None] = []
    for number, part in enumerate(template):
        words += [None] if number else []
        words += part.split()
    return words


def _aligned(ours: Sequence[str | None], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of equal words, rising on both sides: equal ends, and between them words that each side has
    once, in the longest order common to both (Cohen's patience diff), with their equal neighbours.
    """
    least = min(len(ours), len(theirs))
    head = next((at for at in range(least) if ours[at] != theirs[at]), least)
    left = least - head
    tail = next((at for at in range(left) if ours[-1 - at] != theirs[-1 - at]), left)
    begin, ends = (head, head), (len(ours) - tail, len(theirs) - tail)
    counts = Counter(ours[head : ends[0]]), Counter(theirs[head : ends[1]])
    place = {word: at for at, word in enumerate(theirs[: ends[1]]) if at >= head and counts[1][word] == 1}
    once = [
        (at, place[word])
        for at, word in enumerate(ours[: ends[0]])
        if at >= head and word is not None and counts[0][word] == 1 and word in place
    ]
    pairs = [(at, at) for at in range(head)]
    for at, other in [*_rising(once), ends]:
        pairs += _between(ours, theirs, begin, (at, other))
        begin = (at, other) if (at, other) == ends else (at + 1, other + 1)
        pairs += [] if (at, other) == ends else [(at, other)]
    return pairs + [(ends[0] + at, ends[1] + at) for at in range(tail)]


def _between(
    ours: Sequence[str | None], theirs: Sequence[str], begin: tuple[int, int], end: tuple[int, int]
) -> list[tuple[int, int]]:
    """Equal words that follow the last anchor, and those that come right before the next."""
    room = min(end[0] - begin[0], end[1] - begin[1])
    after = 0
    while after < room and ours[begin[0] + after] == theirs[begin[1] + after]:
        after += 1
    before = 0
    while before < room - after and ours[end[0] - 1 - before] == theirs[end[1] - 1 - before]:
        before += 1
    return [(begin[0] + at, begin[1] + at) for at in range(after)] + [
        (end[0] - at, end[1] - at) for at in range(before, 0, -1)
    ]


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest choice of the pairs whose second numbers rise too (patience sorting)."""
    piles: list[int] = []
    tops: list[int] = []
    behind: list[int] = []
    for number, (_, value) in enumerate(pairs):
        at = bisect_left(piles, value)
        behind.append(tops[at - 1] if at else -1)
        piles[at : at + 1] = [value]
        tops[at : at + 1] = [number]
    chosen: list[tuple[int, int]] = []
    number = tops[-1] if tops else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = behind[number]
    return chosen[::-1]


def _runs(pairs: Sequence[tuple[int, int]], ours: int, theirs: int) -> list[tuple[int, int]]:
    """Stretches of the text whose words follow one another on both sides; no short ones in the middle."""
    runs: list[list[tuple[int, int]]] = []
    for pair in pairs:
        if runs and (runs[-1][-1][0] + 1, runs[-1][-1][1] + 1) == pair:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    kept = [run for run in runs if len(run) >= RUN or run[0] == (0, 0) or run[-1] == (ours - 1, theirs - 1)]
    return [(run[0][1], run[-1][1] + 1) for run in kept]
