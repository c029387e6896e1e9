"""All commands on one tree."""

import typer

from daemon.cli import halts, judging, lineage, operate, reading, review, rollout, work

app = typer.Typer(
    name="rlaifd",
    help="Improves a production LLM agent from its own logs, and lets through only what evidence supports.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(operate.run)
app.command()(operate.demo)
app.command()(operate.init)
app.command()(operate.check)
app.command()(operate.status)
app.command()(work.ingest)
app.command()(work.decode)
app.add_typer(judging.app, name="judge")
app.command()(work.curate)
app.command()(work.train)
app.command()(work.evaluate)
app.command()(work.rewards)
app.command()(rollout.adapters)
app.command()(lineage.trace)
app.command()(lineage.export)
app.command()(rollout.promote)
app.command()(rollout.rollback)
app.command()(rollout.readmit)
app.command()(rollout.reconcile)
app.command()(halts.halt)
app.command()(halts.resume)
app.command()(reading.verdicts)
app.command()(reading.deadletters)
halts.ledger.command()(reading.show)
app.add_typer(review.app, name="review")
app.add_typer(halts.ledger, name="ledger")
app.add_typer(operate.db, name="db")
