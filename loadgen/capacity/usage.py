"""What a broker and Redis take of the machine, as the kernel and Redis count it.

The rule: they are looked at from outside; nothing is asked of the broker itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import psutil

from southbound.bench.stage import Stage
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError

_KAFKA = "kafka"
_SECTOR = 512
_REDIS_TIMEOUT_S = 10.0


class BrokerUsage(NamedTuple):
    """One broker's process. Bytes are resident; `cpu_s` is what it took since it began."""

    memory: int
    files: int
    maps: int
    cpu_s: float
    connections: int
    disk: int
    log: int


class RedisUsage(NamedTuple):
    """Redis. `memory`: bytes in use; `cpu_s`: what it took since it began."""

    memory: int
    cpu_s: float


def broker_usage(stage: Stage) -> BrokerUsage:
    """Look at the first broker of a fleet. Raises `EdgeError` when it does not run."""
    status = next(one for one in stage.fleet.status() if one.kind == _KAFKA)
    if status.pid is None:
        raise EdgeError(f"broker {status.name} has ended", retryable=False)
    process = psutil.Process(status.pid)
    cpu = process.cpu_times()
    disk, log = _disk(status.data_dir)
    return BrokerUsage(
        process.memory_info().rss,
        process.num_fds(),
        len(Path(f"/proc/{status.pid}/maps").read_text().splitlines()),
        cpu.user + cpu.system,
        _connections(process, status.port),
        disk,
        log,
    )


def redis_usage(redis_url: str) -> RedisUsage:
    """Ask Redis. Raises `EdgeError` when it is away."""
    link = RedisLink(redis_url, timeout_s=_REDIS_TIMEOUT_S, client_name="bench-units")
    try:
        memory: Any = link.call("INFO", "memory")
        cpu: Any = link.call("INFO", "cpu")
    finally:
        link.close()
    return RedisUsage(
        int(memory["used_memory_dataset"]),
        float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
    )


def _connections(process: psutil.Process, port: int) -> int:
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        for one in process.net_connections("tcp")
    )


def _disk(folder: Path) -> tuple[int, int]:
    """Return the bytes that the files take on the disk, and the bytes in logs."""
    disk = log = 0
    for file in folder.rglob("*"):
        try:
            about = file.stat()
        except FileNotFoundError:
            # Kafka replaces its checkpoints all the time.
            continue
        disk += about.st_blocks * _SECTOR
        log += about.st_size if file.suffix == ".log" else 0
    return disk, log
