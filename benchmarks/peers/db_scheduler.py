"""db-scheduler (Java), the fastest of the peers: needs Maven and a JDK 17, and a Maven repository it can reach."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.servers import BenchServers

SOURCES = Path(__file__).with_name("java")
TOOLS = ("mvn", "javac", "java")


def burst(servers: BenchServers, stored: int, due: int) -> float | None:
    """Tasks fired a second with so many stored and due; None, said aloud, where it cannot be measured."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"  db-scheduler is not measured: {', '.join(missing)} not found")
        return None
    work = servers.home / "db-scheduler"
    work.mkdir(exist_ok=True)
    classpath = work / "classpath.txt"
    build = [
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(SOURCES / "pom.xml"),
            "dependency:build-classpath",
            f"-Dmdep.outputFile={classpath}",
        ],
        ["javac", "-d", str(work), "-cp", f"@{classpath}", str(SOURCES / "DbScheduler.java")],
    ]
    for command in build:
        step = [classpath.read_text() if part == f"@{classpath}" else part for part in command]
        result = subprocess.run(step, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            print(
                f"  db-scheduler is not measured: {step[0]} failed: {(result.stderr or result.stdout).strip()[-300:]}"
            )
            return None
    host = servers.new_database().partition("@")[2]
    url = f"jdbc:postgresql://{host}?user=commandcenter"
    command = ["java", "-Xmx1g", "-cp", f"{work}:{classpath.read_text()}", "DbScheduler", url, str(stored), str(due)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(f"  db-scheduler is not measured: {(result.stderr or result.stdout).strip()[-300:]}")
        return None
    return float(result.stdout.split()[-1])
