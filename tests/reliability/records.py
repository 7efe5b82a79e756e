"""Reading what runs wrote down; and the record of the model, which is run here.

The rule: a record that is missing is said to be missing; nothing is filled in.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.faults.record import Record as FaultsRecord
from tests.faults.record import now
from tests.fuzz.record import FuzzRecord
from tests.live.hostile_records import HostileRecord
from tests.model.engine import exhaust, search
from tests.model.slices import models, planted
from tests.soak.run import SoakRecord

_Kind = TypeVar("_Kind")


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One slice that was gone through completely."""

    name: str
    states: int
    steps: int
    seconds: float


class ModelRecord(msgspec.Struct, kw_only=True):
    """One run of the model."""

    kind: str = "model"
    at: str = ""
    slices: list[Slice] = msgspec.field(default_factory=list)
    caught: list[str] = msgspec.field(default_factory=list)
    missed: list[str] = msgspec.field(default_factory=list)


class Broken(msgspec.Struct, frozen=True):
    """A promise that a schedule of the simulation broke."""

    seed: int
    promise: str
    what: str


class SimulationRecord(msgspec.Struct, kw_only=True):
    """What a run of the simulation writes down, as far as it is told here."""

    first_seed: int = 0
    seeds: int = 0
    schedules: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    seconds: float = 0.0
    operations: dict[str, int] = msgspec.field(default_factory=dict)
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    events: dict[str, int] = msgspec.field(default_factory=dict)
    caught: dict[str, int] = msgspec.field(default_factory=dict)
    missed: list[str] = msgspec.field(default_factory=list)
    anomalies: list[Broken] = msgspec.field(default_factory=list)


class Records(msgspec.Struct, kw_only=True):
    """All records that a ledger is made of; None: that was not run."""

    faults: FaultsRecord | None = None
    soak: SoakRecord | None = None
    simulation: SimulationRecord | None = None
    model: ModelRecord | None = None
    fuzz: FuzzRecord | None = None
    hostile: HostileRecord | None = None


def read(folder: Path) -> Records:
    """Read the records of a folder, each in a file named after its kind."""
    return Records(
        faults=_read(folder / "faults.json", FaultsRecord),
        soak=_read(folder / "soak.json", SoakRecord),
        simulation=_read(folder / "simulation.json", SimulationRecord),
        model=_read(folder / "model.json", ModelRecord),
        fuzz=_read(folder / "fuzz.json", FuzzRecord),
        hostile=_read(folder / "hostile.json", HostileRecord),
    )


def _read(file: Path, kind: type[_Kind]) -> _Kind | None:
    return msgspec.json.decode(file.read_bytes(), type=kind) if file.is_file() else None


def run_model(file: Path) -> None:
    """Go through every slice that the tests go through, search every planted bug, write it down."""
    record = ModelRecord(at=now())
    wanted = models(deep=False)
    for name in list(wanted):
        began_s = time.process_time()
        # Each is let go of before the next: a slice holds all of its states.
        found = exhaust(wanted.pop(name))
        took_s = round(time.process_time() - began_s, 1)
        record.slices.append(
            Slice(name=name, states=found.states, steps=found.steps, seconds=took_s)
        )
    for name, model in planted().items():
        (record.missed if search(model) is None else record.caught).append(name)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
