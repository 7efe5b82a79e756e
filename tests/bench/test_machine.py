from __future__ import annotations

import platform

from southbound.bench.machine import cpu_model, machine, memory, redis_version


def test_the_machine_names_its_parts() -> None:
    """Nothing is left empty, and Python's version is this one's."""
    found = machine()
    assert set(found) == {"cpu", "cores", "memory", "kernel", "python"}
    assert all(found.values())
    assert found["python"] == platform.python_version()


def test_the_first_processor_is_named() -> None:
    """The model's name is read from cpuinfo; where there is none, it is unknown."""
    assert cpu_model("processor\t: 0\nmodel name\t: A 9\nmodel name\t: B\n") == "A 9"
    assert cpu_model("processor\t: 0\n") == "unknown"


def test_memory_is_in_gib() -> None:
    """Meminfo counts in KiB; where it is not there, memory is unknown."""
    assert memory("MemFree: 1 kB\nMemTotal:       25165824 kB\n") == "24.0 GiB"
    assert memory("") == "unknown"


def test_a_redis_is_called_by_its_own_name() -> None:
    """A Valkey pretends to an old Redis version, and names its own beside it."""
    valkey = {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.0"}
    assert redis_version(valkey) == "valkey 9.1.0"
    assert redis_version({"redis_version": "7.0.15"}) == "redis 7.0.15"
    assert redis_version({}) == "redis unknown"
