"""Every metric, declared once: name, labels, unit, meaning.

One registry a process, made in wiring, never the library's global one. Labels come from closed sets. Counters
that an error ratio divides by have their children made at the start, so that the first event is seen.
"""

from collections.abc import Iterable
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from connectors.events import SkipReason
from policies.gate.decision import DecisionKind
from policies.judging.judges import NamedJudge
from policies.pressure import Pressure
from policies.records import Scope
from policies.rollout import ChangeKind, ConditionKind, RefusalKind
from policies.selection import Reason
from policies.states import (
    AlertResult,
    AnswerEnding,
    CallOutcome,
    HaltSource,
    JoinOutcome,
    PromptOutcome,
    RecordOutcome,
    SoundingState,
)
from policies.training.layout import TrainState

SCORE_BUCKETS = tuple(step / 2 for step in range(1, 21))
LATENCY_BUCKETS = tuple(0.01 * 2**power for power in range(14))

JOINED_OUTCOMES = tuple(JoinOutcome)
ANSWER_ORIGINS = ("logged", "sampled", "challenger", "stable")
"""Logged by the agent, sampled for preferences, sampled for the gate from either policy."""
SLOTS = ("stable", "challenger")
SERVED = ("stable", "canary", "other")
"""Whose answers users see: the adapter in force, the canary, or another that was in force before."""
JUDGE = ("judge", "role")
"""A judge's name, and its role beside it."""
RUN_RESULTS: tuple[str, ...] = get_args(TrainState)


class Metrics:
    """The daemon's metrics on a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._ingest()
        self._sources()
        self._traffic()
        self._answers()
        self._judging()
        self._alignment()
        self._training()
        self._rollout()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"rlaifd_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"rlaifd_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"rlaifd_{name}", help_text, labels, buckets=buckets, registry=self.registry)

    def _ingest(self) -> None:
        self.build_info = self._gauge("build_info", "1, with the build in its labels.", "version", "python")
        self.records = self._counter(
            "records_total", "Events consumed, by what became of them.", "source", "outcome"
        )
        self.records_skipped = self._counter(
            "records_skipped_total", "Events without an answer of the agent, by why.", "source", "reason"
        )
        self.traces_joined = self._counter(
            "traces_joined_total",
            "Calls of models joined from parts, by what became of them.",
            "source",
            "outcome",
        )
        self.records_lost = self._counter(
            "records_lost_total", "Records that the source removed before they were read.", "source"
        )
        self.source_stopped = self._gauge(
            "source_stopped", "1 while a source is not read on until a person has decided.", "source"
        )
        self.ingest_paused = self._gauge(
            "ingest_paused",
            "1 while a source is not read for this reason; nothing is lost.",
            "source",
            "reason",
        )

    def _sources(self) -> None:
        self.lag = self._gauge(
            "consumer_lag_records",
            "End of the partition minus what is stored.",
            "source",
            "topic",
            "partition",
        )
        self.source_partitions = self._gauge(
            "source_partitions", "Partitions, or files, that this daemon reads of the source.", "source"
        )
        self.source_read_at = self._gauge(
            "source_read_timestamp_seconds",
            "When the source was looked into last and all was well.",
            "source",
        )
        self.ingest_timestamp = self._gauge(
            "ingest_timestamp_seconds", "When the last batch was committed.", "source"
        )
        self.newest_event = self._gauge(
            "data_newest_event_timestamp_seconds", "Time of the newest event stored.", "source"
        )

    def _traffic(self) -> None:
        self.agent_versions = self._gauge(
            "agent_version_traces",
            "The newest traces, by version of the agent: newest five, other.",
            "version",
        )
        self.agent_versions_lost = self._gauge(
            "agent_versions_untold", "1 while tools alone tell a source's agent versions: too many.", "source"
        )
        self.feedback = self._gauge(
            "feedback_answers",
            "Of the newest 5,000 answers those with such feedback.",
            "kind",
            "sign",
            "slot",
        )
        self.feedback_looked_at = self._gauge(
            "feedback_looked_at_answers", "The newest 5,000 answers, by who gave them.", "slot"
        )
        self.refresh_timestamp = self._gauge(
            "metrics_refresh_timestamp_seconds", "When the gauges read from the store were last refreshed."
        )

    def _answers(self) -> None:
        self.answers = self._counter(
            "answers_total", "Answers, by whether a limit of length cut them off.", "origin", "ending"
        )
        self.sampling_prompts = self._counter(
            "sampling_prompts_total", "Prompts given to the policy, by what became of them.", "outcome"
        )

    def behind(self) -> dict[str, int]:
        """By source, how many records it is known to be behind."""
        found: dict[str, int] = {}
        for family in self.lag.collect():
            for sample in family.samples:
                source = sample.labels["source"]
                found[source] = found.get(source, 0) + int(sample.value)
        return found

    def answered(self, origin: str, *, whole: int, cut: int) -> None:
        """Counts answers of one of `ANSWER_ORIGINS`."""
        self.answers.labels(origin, AnswerEnding.WHOLE).inc(whole)
        self.answers.labels(origin, AnswerEnding.CUT).inc(cut)

    def _judging(self) -> None:
        self.judge_calls = self._counter("judge_calls_total", "Calls to judges.", *JUDGE, "outcome")
        self.judge_latency = self._histogram(
            "judge_call_duration_seconds", "Duration of judge calls.", *JUDGE, buckets=LATENCY_BUCKETS
        )
        self.judge_tokens = self._counter("judge_tokens_total", "Billable tokens.", *JUDGE, "type")
        self.judge_inflight = self._gauge("judge_inflight_calls", "Calls under way.", *JUDGE)
        self.verdicts = self._counter("verdicts_total", "Verdicts stored.", *JUDGE, "kind", "result")
        self.queue = self._gauge("judgements_open", "Judgements waiting or claimed.", *JUDGE)
        self.reward = self._histogram(
            "reward_score", "Rewards after the ceiling, 0-10.", *JUDGE, "slot", buckets=SCORE_BUCKETS
        )
        self.reward_sd = self._gauge(
            "reward_score_window_stddev", "Standard deviation of the last rewards, 0-10.", *JUDGE
        )
        self.reward_sd_limit = self._gauge("reward_score_stddev_limit", "Below it training halts.")
        self.flips = self._gauge(
            "judge_flip_ratio", "Share of comparisons whose two orders contradict each other.", *JUDGE
        )
        self.cost = self._counter("judge_cost_usd_total", "Money settled.", *JUDGE)
        self.cost_today = self._gauge("judge_cost_today_usd", "Reserved and settled today (UTC).", *JUDGE)
        self.budget = self._gauge("judge_budget_usd", "Most that may be spent a day.", *JUDGE)
        self.budget_short = self._gauge(
            "judge_budget_short", "1 while no further call fits into what is left of today.", *JUDGE
        )

    def _alignment(self) -> None:
        self.alignment = self._gauge(
            "human_judge_alignment_ratio", "Share of decided verdicts on which people agree.", *JUDGE
        )
        self.alignment_lower = self._gauge(
            "human_judge_alignment_lower_bound_ratio", "One-sided 95 % lower bound of the alignment.", *JUDGE
        )
        self.alignment_upper = self._gauge(
            "human_judge_alignment_upper_bound_ratio", "One-sided 95 % upper bound of the alignment.", *JUDGE
        )
        self.alignment_labels = self._gauge(
            "human_judge_alignment_labels", "Labelled, decided pairs behind the alignment.", *JUDGE
        )
        self.alignment_coverage = self._gauge(
            "human_judge_alignment_coverage_ratio", "Decided verdicts among those asked for.", *JUDGE
        )
        self.version_since = self._gauge(
            "human_judge_version_since_timestamp_seconds",
            "First verdict of the judge's version, whose alignment this is.",
            *JUDGE,
        )
        self.alignment_limit = self._gauge(
            "human_judge_alignment_limit_ratio", "Below it training halts, and the bound must be above it."
        )

    def _training(self) -> None:
        self.training_active = self._gauge("training_active", "1 while a training child is running.")
        self.training_runs = self._counter("training_runs_total", "Finished runs.", "result")
        self.training_step = self._gauge("training_step", "Step of the run under way.")
        self.training_loss = self._gauge("training_loss", "Loss at the last reported step.")
        self.training_figure = self._gauge(
            "training_figure", "A figure of the last reported step, as the method names it.", "figure"
        )
        self.training_kl = self._gauge(
            "training_kl_nats", "Mean KL to the reference per sequence, on fresh samples, in training."
        )
        self.training_kl_limit = self._gauge("training_kl_limit_nats", "Above it the run stops itself.")
        self.training_divergence = self._gauge(
            "training_divergence_points",
            "Mean change since the run's start on fresh answers: of training's reward, and of the large "
            "judge's score.",
            "view",
        )
        self.training_diverged = self._gauge(
            "training_diverged", "1 where the reward rose and the judge's score fell, both beyond chance."
        )
        self.training_soundings = self._gauge(
            "training_soundings", "Soundings of the run under way, by what became of them.", "state"
        )
        self.entropy = self._gauge(
            "policy_entropy_nats", "Mean entropy per token on freshly sampled answers.", "slot"
        )
        self.kl = self._gauge("policy_kl_nats", "Mean KL of challenger to stable per token, fresh samples.")
        self.preferences = self._gauge("preferences_stored", "Preferences ready to learn from.")
        self.snapshot_pairs = self._gauge("snapshot_pairs", "Pairs of the newest snapshot.")
        self.snapshot_left_out = self._gauge(
            "snapshot_left_out_pairs", "Preferences that are not in the newest snapshot, by why.", "reason"
        )
        self.reward_model_missing = self._gauge(
            "reward_model_missing_labels",
            "About how many labels the held reward model lacks that PPO waits for; +Inf: no number is known.",
        )
        self.last_training = self._gauge("training_finished_timestamp_seconds", "End of the last run.")

    def _rollout(self) -> None:
        self.gate_decisions = self._counter("gate_decisions_total", "Gate decisions.", "decision")
        self.win_rate = self._gauge("gate_win_rate_ratio", "Win rate of the last challenger judged.")
        self.win_rate_lower = self._gauge("gate_win_rate_lower_bound_ratio", "Its lower bound.")
        self.promotions = self._counter("rollouts_total", "Changes of the adapter in force.", "kind")
        self.rollout_epoch = self._gauge("rollout_epoch", "Fencing epoch of the state in force.")
        self.rollout_changed = self._gauge(
            "rollout_changed_timestamp_seconds", "When the adapter in force last changed."
        )
        self.rollout_ok = self._gauge("rollout_in_sync", "1 when every target serves what is in force.")
        self.target_ok = self._gauge(
            "rollout_target_in_sync", "1 when the target serves what is in force.", "target"
        )
        self.adapter_info = self._gauge("adapter_info", "1, with the adapter in force.", "slot", "adapter")
        self.rollout_refused = self._counter("rollout_refused_total", "Adapters refused, by why.", "reason")
        self.rollout_condition = self._gauge("rollout_condition", "1 while the condition holds.", "condition")
        self.halt_active = self._gauge("halt_active", "1 while the scope is halted.", "scope")
        self.halts = self._counter("halts_total", "Halts latched.", "scope", "source")
        self.alerts = self._counter("alert_webhook_alerts_total", "Alerts received.", "result")
        self.alert_heartbeat = self._gauge(
            "alert_path_last_heartbeat_timestamp_seconds", "When the Watchdog alert last arrived."
        )
        self.ledger_entries = self._gauge(
            "ledger_entries", "Entries of the ledger; fewer than before: its tail was cut."
        )
        self.errors = self._counter("stage_errors_total", "Failures at the top of a stage.", "stage")

    def prepare(self, *, sources: tuple[str, ...], judges: Iterable[NamedJudge]) -> None:
        """Makes the children of the label sets that are known at the start."""
        fixed: list[tuple[Counter | Gauge | Histogram, Iterable[str], Iterable[str]]] = [
            (self.records, sources, RecordOutcome),
            (self.records_skipped, sources, SkipReason),
            (self.traces_joined, sources, JOINED_OUTCOMES),
            (self.ingest_paused, sources, Pressure),
            (self.halts, Scope, HaltSource),
            (self.answers, ANSWER_ORIGINS, AnswerEnding),
        ]
        for metric, firsts, seconds in fixed:
            for first, second in product(firsts, seconds):
                metric.labels(first, second)
        single: list[tuple[Counter | Gauge, Iterable[str]]] = [
            (self.snapshot_left_out, Reason),
            (self.records_lost, sources),
            (self.source_stopped, sources),
            (self.source_partitions, sources),
            (self.source_read_at, sources),
            (self.gate_decisions, DecisionKind),
            (self.alerts, AlertResult),
            (self.halt_active, Scope),
            (self.promotions, ChangeKind),
            (self.rollout_refused, RefusalKind),
            (self.rollout_condition, ConditionKind),
            (self.training_runs, RUN_RESULTS),
            (self.training_soundings, SoundingState),
            (self.sampling_prompts, PromptOutcome),
        ]
        for metric, values in single:
            for value in values:
                metric.labels(value)
        for judge in judges:
            self._prepare_judge(judge)

    def _prepare_judge(self, judge: NamedJudge) -> None:
        for outcome in CallOutcome:
            self.judge_calls.labels(*judge.labels, outcome)
        for slot in SLOTS:
            self.reward.labels(*judge.labels, slot)
        for metric in (self.cost, self.budget_short):
            metric.labels(*judge.labels)
