"""Every name of the directory in Redis.

The rule: all names begin with one prefix whose braces put them into one hash slot, so that a script
may touch any of them; a script gets the prefix as its only key and makes the rest from it. Rows lie
in bucketed hashes, which Redis keeps as compact lists while they are short: 32,768 buckets hold 30
of a million hosts each.

    {sb}:h:<bucket>       hash   host -> placement row
    {sb}:v:<bucket>       hash   VPC -> VPC row
    {sb}:p:<bucket>       hash   kind 0x1f id -> partition
    {sb}:occupied:<pool>  string unsigned 32-bit counts, one a slot; rows and reservations
    {sb}:totals           hash   pool -> how many rows and reservations it holds
    {sb}:reserved         hash   key text -> reservations, see `reserve.lua`
    {sb}:journal          hash   AZ -> `kafka_id offset state`: how far its journal is known here
    {sb}:map              hash   born (who began this memory), version (rises with every change)
    {sb}:topology         hash   version, document (JSON)
    {sb}:changes          stream what changed, for caches
    {sb}:claimed:<what>   string who does it right now; it expires
    {sb}:at_work:<service>:<where>  string a service's sign of life (JSON); it expires

Key text, here and in the journal: `h 0x1f host`, `v 0x1f vpc`, `p 0x1f kind 0x1f id`, and
`t 0x1f topology` for the topology document itself.
"""

from __future__ import annotations

from southbound.partitioning.hashing import spread
from southbound.resources import ScopeClass
from southbound.wire.keys import SEPARATOR

PREFIX = "{sb}:"
BUCKETS = 32_768

HOST = "h"
VPC = "v"
PUBLIC = "p"
TOPOLOGY_TEXT = f"t{SEPARATOR}topology"

CHANGES = f"{PREFIX}changes"

LETTERS = {ScopeClass.HOST: HOST, ScopeClass.VPC: VPC, ScopeClass.PUBLIC: PUBLIC}


def text_of(letter: str, field: str) -> str:
    """Return the key text of a row; `field` is its name within its class."""
    return f"{letter}{SEPARATOR}{field}"


def parts_of(text: str) -> tuple[str, str]:
    """Return the class letter and the field of a key text."""
    letter, _, field = text.partition(SEPARATOR)
    return letter, field


def public_field(kind: str, id: str) -> str:
    """Return the field of a public resource."""
    return f"{kind}{SEPARATOR}{id}"


def bucket_of(text: str) -> str:
    """Return the name, less the prefix, of the hash that holds the row of a key text."""
    return f"{text[0]}:{spread(text[2:], BUCKETS)}"


def public_pool(kind: str) -> str:
    """Return the name under which a public kind's partitions are counted; no pool's id has a slash."""
    return f"public/{kind}"
