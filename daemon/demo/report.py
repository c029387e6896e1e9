"""report.html: one page that needs nothing but itself, in light and dark.

Every text that is not written here is escaped. The page says what in it is simulated.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from daemon.demo import plots
from daemon.demo.outcome import DemoOutcome, mean
from daemon.demo.settings import KL_CEILING
from daemon.demo.watcher import Attempt

ALIGNMENT_LIMIT: Final = 0.8
WIN_LIMIT: Final = 0.5
WORDS: Final = {"promote": "promoted", "reject": "rejected", "hold": "held"}
STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1d2025; --soft: #5d636d;
  --faint: #c9c8c2; --rule: #e6e4dd; --before: #8a8f98; --after: #1f6feb; --good: #1a7f4b; --bad: #c2371f;
  --warn-paper: #fdf3d8; --warn-ink: #5f4600; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1b1e23; --ink: #e8e6e1;
  --soft: #a0a6b0; --faint: #4a4f58; --rule: #2b2f36; --before: #8d939d; --after: #6aa6ff; --good: #4cc38a;
  --bad: #ff7a5e; --warn-paper: #33290f; --warn-ink: #f3d98b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
h1 { font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.2rem; letter-spacing: -0.01em; margin: 3.2rem 0 .4rem; }
h3 { font-size: .95rem; margin: 0 0 .5rem; font-weight: 600; }
p { margin: 0 0 .9rem; max-width: 42rem; text-wrap: pretty; }
.soft { color: var(--soft); }
.note { background: var(--warn-paper); color: var(--warn-ink); border-radius: .5rem; padding: .7rem 1rem;
  margin: 1.4rem 0; max-width: none; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem;
  margin: 1.8rem 0 0; }
.figure, .plot { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem;
  padding: 1rem 1.2rem; margin: 0; }
.figure b { display: block; font-size: 1.75rem; font-weight: 650; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; line-height: 1.25; }
.figure b .arrow { color: var(--soft); font-weight: 400; font-size: 1.3rem; padding: 0 .35em; }
.figure span { color: var(--soft); font-size: .88rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
.plot { min-width: 0; }
.plot svg { display: block; width: 100%; height: auto; }
.plot figcaption { color: var(--soft); font-size: .85rem; margin-top: .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; min-width: 42rem; font-size: .92rem; margin: 1rem 0 1.4rem;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .82rem; white-space: nowrap; }
th, td { padding: .55rem .8rem .55rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: nowrap; }
ul { margin: 0; padding-left: 1.1rem; } li + li { margin-top: .25rem; }
.tag { font-weight: 600; white-space: nowrap; } .good { color: var(--good); } .bad { color: var(--bad); }
"""


def write(outcome: DemoOutcome, path: Path) -> None:
    """Writes the page."""
    path.write_text(page(outcome), encoding="utf-8")


def page(outcome: DemoOutcome) -> str:
    """The whole page."""
    parts = (_head(outcome), _quality(outcome), _gate(outcome), _alignment(outcome), _end(outcome))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>rlaifd demo, seed {outcome.seed}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(outcome: DemoOutcome) -> str:
    missing = outcome.missing()
    title = "The demo did not show all it should" if missing else "An agent got better from its own logs"
    before, after = mean(outcome.customers_before), mean(outcome.customers_after)
    first, second = mean(outcome.rewards_before), mean(outcome.rewards_after)
    gain = f"{after / before:.1f} times as high" if before and after is not None else "not measured"
    aligned = outcome.alignment.get("gate", {})
    figures = (
        (_arrow(before, after, 2), f"customer score, 0 to 1: {gain}"),
        (_arrow(first, second, 1), "small judge's reward, 0 to 10"),
        (_number(aligned.get("ratio"), 2), "of the gate judge's verdicts match the reviewer"),
        (f"{outcome.seconds:.0f} s", f"in all, seed {outcome.seed}"),
    )
    cards = "".join(f'<p class="figure"><b>{value}</b><span>{name}</span></p>' for value, name in figures)
    problems = "".join(f'<p class="note">Not shown: {escape(line)}.</p>' for line in missing)
    return (
        f"<h1>{title}</h1>\n"
        '<p class="soft">A tiny language model was trained from nothing, rude half of the time, and put to '
        f"serve customers. rlaifd read its logs, had the answers judged, trained an adapter{_how(outcome)}, "
        "let it through the gate and rolled it out; two adapters that were bad on purpose were not let "
        "through.</p>\n"
        f'<p class="note"><b>Simulated:</b> {escape(", ".join(outcome.simulated))}. The daemon, its store, '
        "the training, the gate and the rollout are the real ones.</p>\n"
        f'{problems}<div class="figures">{cards}</div>'
    )


def _how(outcome: DemoOutcome) -> str:
    """What PPO learned from; nothing of DPO, which is the usual way."""
    if outcome.method != "ppo" or outcome.released is None:
        return ""
    released = outcome.released
    return f" by PPO against {_code(released.name)}, which {released.labels} labels had released"


def _quality(outcome: DemoOutcome) -> str:
    customers = plots.distributions(
        outcome.customers_before, outcome.customers_after, top=1.0, bins=20, unit="customer score"
    )
    rewards = plots.distributions(
        outcome.rewards_before, outcome.rewards_after, top=10.0, bins=20, unit="reward, 0 to 10"
    )
    return (
        "<h2>Live quality</h2>\n"
        f"<p>{len(outcome.customers_before)} customers were served by the base model, then "
        f"{len(outcome.customers_after)} others by {_code(outcome.promoted)}. The customer score is known to "
        "the demo alone: no judge, no reviewer and no gate ever reads it.</p>\n"
        '<div class="plots">'
        + _plot("Customer score", customers, "What customers felt. Dashed: the means.")
        + _plot("Reward", rewards, "What the small judge thought: noisy, and fond of long answers.")
        + "</div>"
    )


def _gate(outcome: DemoOutcome) -> str:
    rows = "".join(
        f"<tr><td>{_code(attempt.adapter)}</td>"
        f'<td class="tag {"good" if attempt.decision == "promote" else "bad"}">{WORDS[attempt.decision]}</td>'
        f'<td class="n">{_number(attempt.win_rate, 2)}</td>'
        f'<td class="n">{_number(attempt.kl_sequence, 1)}</td>'
        f'<td class="n">{_number(attempt.entropy, 2)}</td>'
        f"<td><ul>{''.join(f'<li>{escape(reason)}</li>' for reason in attempt.reasons)}</ul></td></tr>"
        for attempt in outcome.attempts
    )
    table = (
        '<div class="scroll"><table><thead><tr><th>adapter</th><th>decision</th><th class="n">win rate</th>'
        '<th class="n">KL</th><th class="n">entropy</th><th>reasons</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    drawn = _gate_plots(outcome.attempts) if outcome.attempts else ""
    return (
        "<h2>The gate</h2>\n"
        "<p>Each adapter answered the same kind of held-out prompts as the stable policy; a judge of another "
        "family compared the answers in both orders. The unanchored one is plain DPO without the supervised "
        "term, the flipped one learned from swapped labels.</p>\n"
        f"{table}\n{drawn}"
    )


def _gate_plots(attempts: Sequence[Attempt]) -> str:
    names = [attempt.adapter.rsplit("-", 1)[0] for attempt in attempts]
    rates = [
        (
            name,
            attempt.win_rate_lower or 0.0,
            attempt.win_rate,
            attempt.win_rate_upper or 0.0,
            attempt.decision == "promote",
        )
        for name, attempt in zip(names, attempts, strict=True)
        if attempt.win_rate is not None
    ]
    wins = plots.ranges(rates, limit=WIN_LIMIT, low=0.0, high=1.0, unit="win rate against stable")
    far = plots.distances(attempts, ceiling=KL_CEILING, names=names)
    return (
        '<div class="plots">'
        + _plot(
            "Win rate", wins, "With one-sided 95 % bounds. The lower bound must lie above the dashed line."
        )
        + _plot("Distance", far, "Dashed: the KL ceiling. Entropy: stable in grey, the adapter in blue.")
        + "</div>"
    )


def _alignment(outcome: DemoOutcome) -> str:
    known = [(role, found) for role, found in outcome.alignment.items() if found["ratio"] is not None]
    rows = "".join(
        f'<tr><td>{escape(role)}</td><td class="n">{_number(found["ratio"], 3)}</td>'
        f'<td class="n">{_number(found["lower"], 3)} to {_number(found["upper"], 3)}</td>'
        f'<td class="n">{found["labels"]}</td><td class="n">{_number(found["coverage"], 2)}</td>'
        f'<td class="n">{_number(found["length_baseline"], 2)}</td></tr>'
        for role, found in known
    )
    bars = [
        (role, found["lower"], found["ratio"], found["upper"], found["lower"] > ALIGNMENT_LIMIT)
        for role, found in known
    ]
    drawn = plots.ranges(bars, limit=ALIGNMENT_LIMIT, low=0.5, high=1.0, unit="alignment") if bars else ""
    return (
        "<h2>Alignment</h2>\n"
        f"<p>The reviewer compared pairs of answers blind and decided {outcome.labels_decided} of them. "
        "Alignment is the share of a judge's decided verdicts that it shares; without a lower bound above "
        f"{ALIGNMENT_LIMIT:.2f} nothing is promoted.</p>\n"
        '<div class="plots">'
        + _plot("Agreement with the reviewer", drawn, "With one-sided 95 % bounds. Dashed: the limit.")
        + '</div><div class="scroll"><table><thead><tr><th>judge</th><th class="n">alignment</th>'
        '<th class="n">bounds</th><th class="n">pairs</th><th class="n">coverage</th>'
        f'<th class="n">longer is right</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _end(outcome: DemoOutcome) -> str:
    again = mean(outcome.customers_rolled_back)
    told = (
        "<code>rollout.yaml</code> was edited back to the base model. The agent served it again from the "
        f"next question on: customer score {_number(again, 2)}."
        if outcome.rolled_back
        else "The rollback was not shown."
    )
    return f"<h2>Rollback</h2>\n<p>{told}</p>"


def _plot(title: str, drawn: str, caption: str) -> str:
    return (
        f'<figure class="plot"><h3>{escape(title)}</h3>{drawn}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _arrow(before: float | None, after: float | None, digits: int) -> str:
    return f'{_number(before, digits)}<span class="arrow">&rarr;</span>{_number(after, digits)}'


def _code(name: str | None) -> str:
    return f"<code>{escape(name)}</code>" if name else "nothing"


def _number(value: Any, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
