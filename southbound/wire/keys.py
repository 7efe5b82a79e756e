"""Record keys: `h␟<host>␟<kind>␟<id>`, `v␟<vpc>␟<kind>␟<id>`, `p␟<kind>␟<id>` (␟ is 0x1f).

The rule: a key is the identity of a resource and the unit of compaction, and its prefix alone tells
a reader whether a record is its own, before anything is decoded. Ids are 1 to 255 bytes of UTF-8
without control characters, so the separator can stand in none of them.
"""

from __future__ import annotations

import re

from southbound.errors import Fault, InvalidResource, WireError
from southbound.resources import ID_BYTES_MAX, PUBLIC_SCOPE, ResourceKey, Scope, ScopeClass

SEPARATOR = "\x1f"
RESERVED = "!"
HANDOVER = "!handover"
SEAL = "!seal"

_LETTER = {ScopeClass.HOST: "h", ScopeClass.VPC: "v", ScopeClass.PUBLIC: "p"}
_CLASS = {"h": ScopeClass.HOST, "v": ScopeClass.VPC}
# C0, DEL, C1 and lone surrogates: what is not text, or could break a terminal or a file name.
_BAD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def id_problem(id: object) -> str | None:
    """Say what is wrong with an id, or return None when it is a good one."""
    if type(id) is str and id.isascii() and id.isprintable() and 0 < len(id) <= ID_BYTES_MAX:
        return None
    if not isinstance(id, str):
        return "an id must be a string"
    if not id:
        return "an id must not be empty"
    if _BAD.search(id):
        return "an id must not hold control characters"
    if len(id) > ID_BYTES_MAX or (not id.isascii() and len(id.encode()) > ID_BYTES_MAX):
        return f"an id must be at most {ID_BYTES_MAX} bytes of UTF-8"
    return None


def check_id(id: object, place: str) -> str:
    """Return the id when it is a good one; else raise `InvalidResource` naming `place`."""
    problem = id_problem(id)
    if problem is not None:
        raise InvalidResource("invalid id", [Fault(place, id, problem)])
    return str(id)


def scope_prefix(scope: Scope) -> bytes:
    """Return the bytes that every key of this scope begins with, separator included."""
    if scope.cls is ScopeClass.PUBLIC:
        return b"p\x1f"
    return f"{_LETTER[scope.cls]}\x1f{scope.id}\x1f".encode()


def encode_key(key: ResourceKey) -> bytes:
    """Return the record key. The parts are taken as valid; check them where they come in."""
    return record_key(*key)


def record_key(scope: Scope, kind: str, id: str) -> bytes:
    """Return the record key of a resource whose identity is given in parts."""
    cls, scope_id = scope
    if cls is ScopeClass.PUBLIC:
        return f"p\x1f{kind}\x1f{id}".encode()
    return f"{_LETTER[cls]}\x1f{scope_id}\x1f{kind}\x1f{id}".encode()


def decode_key(data: bytes) -> ResourceKey:
    """Read a record key. Raises `WireError` when it is not one."""
    try:
        parts = data.decode().split(SEPARATOR)
    except UnicodeDecodeError as error:
        raise WireError(f"key is not UTF-8: {data[:80]!r}") from error
    if parts[0] == "p" and len(parts) == 3:
        scope = PUBLIC_SCOPE
    elif parts[0] in _CLASS and len(parts) == 4:
        scope = Scope(_CLASS[parts[0]], parts[1])
    else:
        raise WireError(f"key has no known shape: {data[:80]!r}")
    if any(id_problem(part) is not None for part in parts[1:]):
        raise WireError(f"key holds an invalid id: {data[:80]!r}")
    return ResourceKey(scope, parts[-2], parts[-1])


def is_control(key: ResourceKey) -> bool:
    """Tell whether the key is of a control record (`!handover`, `!seal`, and later ones)."""
    return key.kind.startswith(RESERVED)


def handover_key(scope: Scope, epoch: int) -> bytes:
    """Key of the marker that ends this scope's stream in a slot; one for each epoch."""
    return encode_key(ResourceKey(scope, HANDOVER, str(epoch)))


def seal_key(scope: Scope, epoch: int) -> bytes:
    """Key of the record that says: everything of this scope has been copied into this slot."""
    return encode_key(ResourceKey(scope, SEAL, str(epoch)))


def scope_text(scope: Scope) -> str:
    """Return a scope as it is written in the directory and in `sb.moves`: `h␟host` or `v␟vpc`."""
    return f"{_LETTER[scope.cls]}{SEPARATOR}{scope.id}"


def parse_scope_text(text: str) -> Scope:
    """Read what `scope_text` wrote. Raises `WireError`."""
    letter, _, id = text.partition(SEPARATOR)
    if letter not in _CLASS or id_problem(id) is not None:
        raise WireError(f"not a scope: {text[:80]!r}")
    return Scope(_CLASS[letter], id)
