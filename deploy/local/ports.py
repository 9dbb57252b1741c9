"""Who has a port, and which ones are free."""

from __future__ import annotations

import random
import socket

import psutil

# Below the range from which Linux and macOS take the ports of outgoing connections: one of those could take the port
# between our look and the server's start.
FREE_RANGE = range(22_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on that port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """So many ports in a row that are free now, for servers of tests and benchmarks."""
    for _ in range(1_000):
        first = random.randrange(FREE_RANGE.start, FREE_RANGE.stop - count)  # noqa: S311 - no secret
        ports = list(range(first, first + count))
        if all(is_free(port) for port in ports):
            return ports
    raise OSError(f"no {count} free ports in a row between {FREE_RANGE.start} and {FREE_RANGE.stop}")


def owner(port: int) -> str | None:
    """Who listens on that port: `name (pid 123)`; None when the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None  # macOS tells only root
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port
        if listens and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None
