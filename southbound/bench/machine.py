"""What a benchmark ran on: the machine, and the versions of everything that took part.

The rule: what cannot be found is said to be unknown, never guessed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka

from southbound.edge.redis import RedisLink
from southbound.local.jars import KAFKA_VERSION
from southbound.local.jars import VARIABLE as KAFKA_VARIABLE

_UNKNOWN = "unknown"
_KIB_PER_GIB = 1 << 20
_REDIS_TIMEOUT_S = 5.0


def machine() -> dict[str, str]:
    """Return the hardware, the kernel and the Python of this process."""
    usable = len(os.sched_getaffinity(0))
    return {
        "cpu": cpu_model(_read("/proc/cpuinfo")),
        "cores": f"{usable} of {os.cpu_count()}",
        "memory": memory(_read("/proc/meminfo")),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def software(redis_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of clients and servers. Raises `EdgeError` when Redis is away."""
    named = environ.get(KAFKA_VARIABLE)
    return {
        "confluent-kafka": str(confluent_kafka.version()),
        "librdkafka": str(confluent_kafka.libversion()[0]),
        "kafka": f"the one in {named}" if named else KAFKA_VERSION,
        "redis": _redis(redis_url),
    }


def cpu_model(cpuinfo: str) -> str:
    """Return the model's name, given the text of /proc/cpuinfo."""
    return _field(cpuinfo, "model name") or _UNKNOWN


def memory(meminfo: str) -> str:
    """Return the size of memory in GiB, given the text of /proc/meminfo."""
    words = _field(meminfo, "MemTotal").split()
    return f"{int(words[0]) / _KIB_PER_GIB:.1f} GiB" if words else _UNKNOWN


def redis_version(info: Mapping[str, object]) -> str:
    """Return the server's name and version, given its answer to INFO server."""
    name = info.get("server_name", "redis")
    return f"{name} {info.get(f'{name}_version', _UNKNOWN)}"


def _redis(url: str) -> str:
    link = RedisLink(url, timeout_s=_REDIS_TIMEOUT_S, client_name="bench")
    try:
        # redis-py gives this command's answer as a dictionary.
        return redis_version(link.call("INFO", "server"))
    finally:
        link.close()


def _field(text: str, name: str) -> str:
    """Return what stands behind a name and a colon, at its first place."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else ""
