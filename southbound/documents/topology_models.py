"""The fields of a topology's document, section by section.

The rule: a field that does not belong here is a fault (it is a slip of the pen), and sizes are
bounded by what a Kafka cluster can hold.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

TOPICS_MAX = 1_000
PARTITIONS_MAX = 10_000


def _setting(value: Any) -> Any:
    """Take YAML's numbers and booleans as the text that librdkafka wants."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _size(most: int) -> Any:
    return Field(strict=True, ge=1, le=most)


_Word = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Setting = Annotated[str, BeforeValidator(_setting)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AzEntry(_Entry):
    """An availability zone; `journal` is its first cluster unless it is named."""

    id: str
    journal: str | None = None


class ClusterEntry(_Entry):
    """A Kafka cluster."""

    id: str
    az: str
    bootstrap: Annotated[list[str], Field(min_length=1)]
    kafka_id: str = ""
    client: dict[_Word, _Setting] = {}
    replication: Annotated[int, _size(15)] = 1
    min_insync_replicas: Annotated[int, _size(15)] = 1
    status_partitions: Annotated[int, _size(1_000)] = 4
    interest_partitions: Annotated[int, _size(1_000)] = 4


class PoolEntry(_Entry):
    """Equally sized topics of one cluster for one class."""

    id: str
    cluster: str
    cls: Annotated[Literal["host", "vpc"], Field(alias="class")]
    topics: Annotated[int, _size(TOPICS_MAX)]
    partitions: Annotated[int, _size(PARTITIONS_MAX)]
    max_per_slot: Annotated[int, _size(1_000_000)]


class PublicEntry(_Entry):
    """Where a kind of public resource lives."""

    kind: str
    cluster: str
    partitions: Annotated[int, _size(PARTITIONS_MAX)]


class Sections(_Entry):
    """The document's outline; each entry is judged by itself."""

    region: str
    azs: list[Any]
    clusters: list[Any]
    pools: list[Any]
    public: list[Any] = []
