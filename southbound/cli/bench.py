"""`southbound bench`: each benchmark beside its baseline, in one run."""

from __future__ import annotations

from southbound.cli.commands import noun

app = noun("Benchmarks, each beside its baseline in one run.")
