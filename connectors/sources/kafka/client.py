"""kafka-python's consumer: how it is configured, and the calls that only keep its books."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka import KafkaConsumer, TopicPartition, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.sasl.oauth import AbstractTokenProvider

from connectors.errors import FatalError, TransientError
from connectors.sources.kafka.tokens import FileTokens, Grant, GrantedTokens

FETCH_BYTES = 1 << 20
"""Most bytes fetched ahead of each partition, in the client's buffer: they come on top of the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """How to reach the brokers and what to read. Times in seconds, sizes in bytes."""

    bootstrap_servers: str
    topics: tuple[str, ...]
    group_id: str = "rlaifd"
    group_instance_id: str | None = None
    """What names this member over restarts: one that comes back after a kill goes on at once, instead of
    waiting until the group has given up the dead one.
    """
    auto_offset_reset: Literal["earliest", "none"] = "none"
    """Where offsets were removed before they were read: go on behind them, or wait for a person. What was
    never read begins at the earliest record either way.
    """
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    """With OAUTHBEARER, name and password are those with which `sasl_token_url` is asked for a token."""
    sasl_token_file: Path | None = None
    """OAUTHBEARER: a file that holds the token, read at every login; or `sasl_token_url`."""
    sasl_token_url: str | None = None
    sasl_token_scope: str | None = None
    sasl_token_cafile: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: str | None = field(default=None, repr=False)
    """Of an encrypted key."""

    max_in_flight_records: int = 5000
    max_in_flight_bytes: int = 64 << 20
    bootstrap_timeout_s: float = 10.0
    session_timeout_s: float = 45.0
    metadata_max_age_s: float = 30.0
    """How often the topics are looked at anew: partitions that were added are read so much later."""

    @property
    def files(self) -> tuple[Path | None, ...]:
        """What must be readable before anything is tried."""
        tls = (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        return (*tls, self.sasl_token_file, self.sasl_token_cafile)


def seek(consumer: KafkaConsumer, where: TopicPartition, start: int | None) -> None:
    """Bookkeeping only, on either thread. Of a partition that has moved away its new owner reads on."""
    with suppress(ValueError):
        if start is None:
            consumer.seek_to_beginning(where)
        else:
            consumer.seek(where, start)


def hold(consumer: KafkaConsumer, waits: Mapping[TopicPartition, bool]) -> None:
    """Pauses the partitions that wait and resumes the others; one that has moved away does neither."""
    for where, waiting in waits.items():
        with suppress(KeyError):
            (consumer.pause if waiting else consumer.resume)(where)


def free_slot(consumer: KafkaConsumer) -> None:
    """Lets the records of a partition that was paused come back.

    kafka-python 3.0 parks them until its slot for the partition in line is None, but an exhausted one stays
    there, merely false, until some other fetch arrives: without one the parked records never come.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - there is no public way, and the version is pinned
    if not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def settled(consumer: KafkaConsumer) -> bool:
    """Whether a broker is connected and the group has let this member in."""
    connected = consumer.metrics()["consumer-metrics"]["connection-count"]
    return bool(connected) and consumer._coordinator.stable()  # noqa: SLF001 - there is no public way


def leave_for_good(consumer: KafkaConsumer) -> None:
    """Makes the close that follows leave the group, so that the others take over at once.

    A member with a name of its own would only fall silent: the group keeps its share until the session ends,
    which is right after a kill and wrong after an orderly end.
    """
    consumer._coordinator.config["group_instance_id"] = None  # noqa: SLF001 - there is no public way


def keep_join(consumer: KafkaConsumer) -> None:
    """Lets the next poll take up a join that an earlier poll left under way.

    kafka-python 3.0 forgets it in two ways. A join asked for because the topics changed stops being needed
    as soon as this member, as leader, has assigned the new topics: polls then pass it by, heartbeats stay
    off, and the member holds for ever what the group has given to others. And a join that ends between two
    polls is begun anew, again and again where polls are short.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - there is no public way, and the version is pinned
    join = coordinator._join_task  # noqa: SLF001
    if join is None:
        return
    coordinator.request_rejoin()
    if not isinstance(join, _Unspent):
        coordinator._join_task = _Unspent(join)  # noqa: SLF001


class _Unspent:
    """A join's future that does not look done, so that the coordinator waits for it whether it is or not.

    Except where it failed by a timeout of its own: the coordinator takes that for one of the poll's and would
    wait for it again for ever.
    """

    def __init__(self, join: Any) -> None:
        self._join = join
        self.add_callback, self.add_errback = join.add_callback, join.add_errback

    @property
    def is_done(self) -> bool:
        return isinstance(self._join.exception, errors.KafkaTimeoutError)


def connect(options: KafkaOptions, client_id: str) -> KafkaConsumer:
    """Connects; a failed attempt leaves no thread and no socket behind. Raises the client's own errors."""
    made: list[Any] = []

    def client(**config: Any) -> Any:
        made.append(KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**config))
        return made[-1]

    try:
        return KafkaConsumer(
            bootstrap_servers=options.bootstrap_servers.split(","),
            group_id=options.group_id,
            group_instance_id=options.group_instance_id,
            client_id=client_id,
            kafka_client=client,
            enable_auto_commit=False,
            auto_offset_reset=options.auto_offset_reset,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            max_poll_records=500,
            session_timeout_ms=int(options.session_timeout_s * 1000),
            heartbeat_interval_ms=int(min(3.0, options.session_timeout_s / 4) * 1000),
            max_partition_fetch_bytes=FETCH_BYTES,
            metadata_max_age_ms=int(options.metadata_max_age_s * 1000),
            isolation_level="read_committed",
            bootstrap_timeout_ms=int(options.bootstrap_timeout_s * 1000),
            security_protocol=options.security_protocol,
            sasl_mechanism=options.sasl_mechanism,
            sasl_plain_username=options.sasl_username,
            sasl_plain_password=options.sasl_password,
            ssl_cafile=_text(options.ssl_cafile),
            ssl_certfile=_text(options.ssl_certfile),
            ssl_keyfile=_text(options.ssl_keyfile),
            ssl_password=options.ssl_password or "",  # with None an encrypted key is asked for at a terminal
            sasl_oauth_token_provider=_tokens(options),
        )
    except BaseException:
        for each in made:
            each.close()
        raise


def partitions_of(consumer: KafkaConsumer, options: KafkaOptions) -> int:
    """How many partitions the topics have together. Raises TransientError for a topic that is not there."""
    found = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in options.topics}
    missing = sorted(topic for topic, count in found.items() if not count)
    if missing:
        raise TransientError(
            f"kafka {options.bootstrap_servers}: topic {missing[0]!r} does not exist or may not be read: "
            "create it, correct the source's `topics`, or grant READ and DESCRIBE on it"
        )
    return sum(found.values())


def check_files(place: str, *files: Path | None) -> None:
    """Raises FatalError, which names the place, for a file that cannot be read: the client would try for ever
    to connect without it.
    """
    for path in filter(None, files):
        try:
            path.open("rb").close()
        except OSError as error:
            raise FatalError(f"{place}: {path}: {error.strerror}") from None


def _tokens(options: KafkaOptions) -> AbstractTokenProvider | None:
    if options.sasl_mechanism != "OAUTHBEARER":
        return None
    if options.sasl_token_file is not None:
        return FileTokens(options.sasl_token_file)
    if options.sasl_token_url is None:
        raise ValueError("OAUTHBEARER needs sasl_token_file or sasl_token_url")
    return GrantedTokens(
        Grant(
            url=options.sasl_token_url,
            client=options.sasl_username or "",
            secret=options.sasl_password or "",
            scope=options.sasl_token_scope,
            cafile=options.sasl_token_cafile,
        )
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
