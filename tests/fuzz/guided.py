"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS FINDINGS SECONDS`.

The rule: the product's modules are instrumented as they are imported, so nothing of them may be
imported before; samples are put into the corpus, which keeps what reached something new.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

LENGTH_MAX = 32_768
SECONDS_MAX = 25
"""For one input; twice what a test allows, since instrumented code is slow."""
MEMORY_MIB_MAX = 1_024


def _target(name: str) -> tuple[Callable[[bytes], object], Iterable[bytes]]:
    """Import and instrument a target; return it with its seeds."""
    with atheris.instrument_imports(
        include=["southbound", "loadgen"], enable_loader_override=False
    ):
        from tests.fuzz.targets import BY_NAME, feed, quiet
    quiet()
    target = BY_NAME[name]
    return lambda data: feed(target, data), target.seeds()


def _planted(name: str) -> tuple[Callable[[bytes], object], Iterable[bytes]]:
    with atheris.instrument_imports(include=["tests.fuzz.planted"], enable_loader_override=False):
        from tests.fuzz.planted import PLANTED, SEEDS
    return PLANTED[name], SEEDS


def main() -> None:
    """Fuzz until the time is over or something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("name")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--seconds-max", type=int, default=SECONDS_MAX)
    parser.add_argument("--memory-mib-max", type=int, default=MEMORY_MIB_MAX)
    parser.add_argument("--planted", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    run, seeds = (_planted if given.planted else _target)(given.name)

    def once(data: bytes) -> None:
        run(data)

    for seed in seeds:
        file = given.corpus / hashlib.blake2b(seed, digest_size=10).hexdigest()
        file.write_bytes(seed)
    atheris.Setup(
        [
            given.name,
            str(given.corpus),
            f"-artifact_prefix={given.findings}/",
            f"-max_total_time={given.seconds}",
            f"-max_len={LENGTH_MAX}",
            f"-timeout={given.seconds_max}",
            f"-rss_limit_mb={given.memory_mib_max}",
            "-print_final_stats=1",
            "-verbosity=1",
        ],
        once,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
