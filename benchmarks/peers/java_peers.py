"""The peers in Java: they need Maven, a JDK 17, and a Maven repository that can be reached.

db-scheduler is the fastest of all peers. Each is `java/<Name>.java`, a program that stores schedules, lets some be due
and prints how many it fired a second.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.servers import BenchServers

SOURCES = Path(__file__).with_name("java")
TOOLS = ("mvn", "javac", "java")


def db_scheduler(servers: BenchServers, stored: int, due: int) -> float | None:
    """Tasks fired a second with so many stored and due; None, said aloud, where it cannot be measured."""
    return _burst("DbScheduler", servers, stored, due)


def quartz(servers: BenchServers, stored: int, due: int) -> float | None:
    """The same by a clustered Quartz."""
    return _burst("Quartz", servers, stored, due)


def _burst(name: str, servers: BenchServers, stored: int, due: int) -> float | None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"  {name} is not measured: {', '.join(missing)} not found")
        return None
    classes = servers.home / "peers"
    classes.mkdir(exist_ok=True)
    classpath = classes / "classpath.txt"
    pom = str(SOURCES / "pom.xml")
    resolve = ["mvn", "-q", "-B", "-f", pom, "dependency:build-classpath", f"-Dmdep.outputFile={classpath}"]
    if not classpath.exists() and _output(name, resolve) is None:
        return None
    libraries = classpath.read_text()
    if _output(name, ["javac", "-d", str(classes), "-cp", libraries, str(SOURCES / f"{name}.java")]) is None:
        return None
    host = servers.new_database().partition("@")[2]
    # As the superuser: Quartz' rows are copied past its foreign keys.
    url = f"jdbc:postgresql://{host}?user=postgres"
    printed = _output(name, ["java", "-Xmx1g", "-cp", f"{classes}:{libraries}", name, url, str(stored), str(due)])
    return None if printed is None else float(printed.split()[-1])


def _output(name: str, command: list[str]) -> str | None:
    """What a step prints; None, said aloud, when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return result.stdout
    print(f"  {name} is not measured: {command[0]} failed: {(result.stderr or result.stdout).strip()[-300:]}")
    return None
