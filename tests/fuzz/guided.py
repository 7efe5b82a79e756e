"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS FINDINGS SECONDS`.

The rule: the product's modules are instrumented as they are imported, so nothing of them may be
imported before; samples are put into the corpus, which keeps what reached something new.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

_LENGTH_MAX = 32_768
_SECONDS_MAX = 25
"""For one input; twice what a test allows, since instrumented code is slow."""
_MEMORY_MIB_MAX = 1_024


def main(name: str, corpus: str, findings: str, seconds: str) -> None:
    """Fuzz until the time is over or something was found."""
    with atheris.instrument_imports(include=["southbound"], enable_loader_override=False):
        from tests.fuzz.targets import BY_NAME, feed, quiet
    quiet()
    target = BY_NAME[name]

    def once(data: bytes) -> None:
        feed(target, data)

    for seed in target.seeds():
        file = Path(corpus) / hashlib.blake2b(seed, digest_size=10).hexdigest()
        file.write_bytes(seed)
    atheris.Setup(
        [
            name,
            corpus,
            f"-artifact_prefix={findings}/",
            f"-max_total_time={seconds}",
            f"-max_len={_LENGTH_MAX}",
            f"-timeout={_SECONDS_MAX}",
            f"-rss_limit_mb={_MEMORY_MIB_MAX}",
            "-print_final_stats=1",
            "-verbosity=1",
        ],
        once,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
