from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from southbound.janitor.books import Odd
from southbound.janitor.judging import Why
from southbound.janitor.metrics import JanitorCollector
from southbound.janitor.report import lines_of
from southbound.janitor.tally import PRUNED_MOVES, Stand, Tally
from southbound.resources import ScopeClass


def filled() -> tuple[Tally, Stand]:
    """Return counts that differ from each other."""
    tally = Tally(sweeps=3, records_read=11, lost=1)
    tally.repairs[Why.CLEAN] += 4
    tally.entries[PRUNED_MOVES] += 5
    tally.abandoned[ScopeClass.VPC] += 6
    return tally, Stand(slots=9, odd=Odd(1, 2, 3), began_us=4_000_000, sweep_s=0.5)


def test_everything_is_exported_by_its_name() -> None:
    """Labels are told from the start, at 0."""
    registry = CollectorRegistry()
    registry.register(JanitorCollector(*filled()))
    text = generate_latest(registry).decode()
    for line in (
        'southbound_janitor_repairs_total{reason="clean"} 4.0',
        'southbound_janitor_repairs_total{reason="inversion"} 0.0',
        'southbound_janitor_entries_total{kind="moves_pruned"} 5.0',
        'southbound_janitor_changesets_abandoned_total{class="vpc"} 6.0',
        'southbound_janitor_changesets_abandoned_total{class="host"} 0.0',
        "southbound_janitor_sweeps_total 3.0",
        "southbound_janitor_lost_total 1.0",
        "southbound_janitor_scopes_stray 2.0",
    ):
        assert line in text
    age_s = registry.get_sample_value("southbound_janitor_sweep_age_seconds")
    assert age_s is not None
    assert age_s > 1e9


def test_the_age_counts_from_the_start_until_a_sweep_was_complete() -> None:
    """A janitor that never gets through is late, too."""
    registry = CollectorRegistry()
    registry.register(JanitorCollector(Tally(), Stand()))
    age_s = registry.get_sample_value("southbound_janitor_sweep_age_seconds")
    assert age_s is not None
    assert 0 <= age_s < 60


def test_the_report_tells_every_count() -> None:
    """Those that are 0 too."""
    done = {line.what: line.done for line in lines_of(*filled())}
    assert done["clean"] == 4
    assert done["inversion"] == 0
    assert done["moves pruned"] == 5
    assert done["abandoned, vpc"] == 6
    assert done["unknown"] == 3
    assert done["slots"] == 9
