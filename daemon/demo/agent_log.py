"""Where the agent's answers are logged: a JSONL directory, or a Kafka topic. rlaifd reads them from there."""

import json
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from daemon.demo.clicks import clicked
from daemon.demo.processes import PlayError
from policies.training.toy.agent import ToyAnswers

MODEL: Final = "shop-agent"
KAFKA_WAIT_S: Final = 30.0
REACH_S: Final = 5.0


class Logbook(Protocol):
    """Takes the agent's log lines."""

    def write(self, events: Sequence[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


def events(prompts: Sequence[str], said: ToyAnswers, *, first: int, seed: int = 0) -> list[dict[str, Any]]:
    """The log lines of answers, in rlaifd's own JSON. Each customer is a subject of their own, and some of
    them click a thumb.
    """
    now = time.time()
    return [
        {
            "id": f"answer-{number:06d}",
            "ts": now,
            "messages": [{"role": "user", "content": prompt}],
            "output": [{"role": "assistant", "content": answer}],
            "model": MODEL,
            "adapter": said.adapter,
            "session": f"session-{number:06d}",
            "subject": f"customer-{number:06d}",
            "feedback": clicked(prompt, answer, seed),
        }
        for number, (prompt, answer) in enumerate(zip(prompts, said.answers, strict=True), start=first)
    ]


class FileLog:
    """One JSONL file in a directory that rlaifd follows."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / "agent.jsonl").open("a", encoding="utf-8")

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(event) + "\n" for event in events))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class KafkaLog:
    """A new topic on a real Kafka. Raises PlayError when the broker does not answer."""

    def __init__(self, server: str) -> None:
        from kafka import KafkaAdminClient, KafkaProducer
        from kafka.admin import NewTopic
        from kafka.errors import KafkaError

        self.topic = f"rlaifd-demo-{uuid.uuid4().hex[:8]}"
        self._error: type[Exception] = KafkaError
        _reach(server)
        try:
            admin = KafkaAdminClient(bootstrap_servers=server)
            try:
                admin.create_topics([NewTopic(name=self.topic, num_partitions=2, replication_factor=1)])
            finally:
                admin.close()
            self._producer = KafkaProducer(bootstrap_servers=server, acks="all")
        except KafkaError as error:
            raise PlayError(f"Kafka at {server}: {type(error).__name__}: {error}") from error

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        try:
            sent = [
                self._producer.send(
                    self.topic, key=event["subject"].encode(), value=json.dumps(event).encode()
                )
                for event in events
            ]
            for each in sent:
                each.get(timeout=KAFKA_WAIT_S)
        except self._error as error:
            raise PlayError(f"Kafka topic {self.topic}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._producer.close(timeout=5)


def _reach(server: str) -> None:
    """Raises PlayError at once where nothing listens; the client would try again for a minute."""
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except (OSError, ValueError) as error:
        raise PlayError(f"Kafka at {server}: {error}") from None
