"""Files of any known format, read into one import.

The rule: every file is read before anything is said, and either all of them are sound and everything
in them is accounted for, or nothing is imported and every fault is named. Files may be mixed; those of the
Networking API are read as views of one cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from southbound.documents.document import Document
from southbound.documents.findings import refusal
from southbound.documents.formats import Format, format_of, why_unknown
from southbound.documents.goalstate import import_goalstate
from southbound.documents.imported import Imported, Unplaced
from southbound.documents.native import read_native
from southbound.documents.neutron import import_neutron
from southbound.documents.options import ImportOptions
from southbound.documents.text import parse, read_bounded
from southbound.errors import ConfigError, Fault
from southbound.resources import Changeset
from southbound.settings import DocumentSettings

STDIN = "-"


def read_files(
    files: Sequence[str | Path],
    options: ImportOptions | None = None,
    settings: DocumentSettings | None = None,
    *,
    stdin: bytes = b"",
) -> Imported:
    """Read files into one import; the name `-` stands for `stdin`, which the caller has read.

    Raises `ConfigError` with every fault of every file.
    """
    limit = (settings or DocumentSettings()).bytes_max
    texts: list[tuple[str, bytes]] = []
    faults: list[Fault] = []
    for file in files:
        if str(file) == STDIN:
            texts.append(("standard input", stdin))
            continue
        try:
            with Path(file).open("rb") as opened:
                texts.append((str(file), read_bounded(opened, limit)))
        except (OSError, ValueError) as error:
            faults.append(Fault(str(file), None, getattr(error, "strerror", None) or str(error)))
    if faults:
        raise refusal("not every file can be read", faults)
    return read_texts(texts, options, settings)


def read_texts(
    texts: Iterable[tuple[str, bytes]],
    options: ImportOptions | None = None,
    settings: DocumentSettings | None = None,
) -> Imported:
    """Read texts, each with the name that messages give it, into one import.

    Raises `ConfigError` with every fault of every text.
    """
    documents: list[Document] = []
    faults: list[Fault] = []
    for source, data in texts:
        try:
            documents.extend(parse(data, source, settings))
        except ConfigError as error:
            faults.extend(error.faults)
    native, native_faults = _native(documents)
    faults.extend(native_faults)
    if faults:
        raise refusal("the documents cannot be published", faults)
    responses = [document for document in documents if format_of(document) is Format.NEUTRON]
    result = native + import_neutron(responses, options, settings)
    for document in documents:
        if format_of(document) is Format.GOALSTATE:
            result += import_goalstate(document, options, settings)
    return result + _unknown(documents)


def _native(documents: Iterable[Document]) -> tuple[Imported, list[Fault]]:
    """Read the documents of Southbound's own; a changeset's id may stand only once."""
    taken: dict[str, Changeset] = {}
    warnings: list[str] = []
    faults: list[Fault] = []
    for document in documents:
        if format_of(document) is not Format.NATIVE:
            continue
        changeset, found = read_native(document)
        faults.extend(found)
        if changeset is None:
            continue
        known = taken.setdefault(changeset.id, changeset)
        if known != changeset:
            problem = "stands for two different changesets"
            faults.append(Fault(document.place("changeset"), changeset.id, problem))
        elif known is not changeset:
            warnings.append(f"{document.name}: the changeset {changeset.id} was read before")
    return Imported(tuple(taken.values()), warnings=tuple(warnings)), faults


def _unknown(documents: Iterable[Document]) -> Imported:
    return Imported(
        unplaced=tuple(
            Unplaced("document", document.name, why_unknown(document), document.source)
            for document in documents
            if format_of(document) is Format.UNKNOWN
        )
    )
