"""Reading files of all formats into one import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from southbound.documents.document import Document
from southbound.documents.formats import Format, format_of
from southbound.documents.reading import read_files, read_texts
from southbound.errors import ConfigError
from southbound.resources import references

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

NATIVE = b'{"kind": "vpc", "id": "v1", "revision": 1, "spec": {}}'
NEUTRON = b'{"network": {"id": "n1", "revision_number": 2}}'
GOAL = b'{"vpcStates": {"g1": {"configuration": {"revisionNumber": 3}}}}'


def test_formats_may_be_mixed() -> None:
    """Native documents come first, in their order; all formats end in one import."""
    found = read_texts([("a", GOAL), ("b", NEUTRON), ("c", NATIVE), ("d", b"status: 204")])
    assert [(item.id, item.revision) for made in found.changesets for item in made.resources] == [
        ("v1", 1),
        ("n1", 2),
        ("g1", 3),
    ]
    assert found.resources == 3
    assert [(item.kind, item.id) for item in found.unplaced] == [("document", "d")]
    assert "its fields: status" in found.unplaced[0].why


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"resources": []}, Format.NATIVE),
        ({"changeset": "c"}, Format.NATIVE),
        ({"kind": "port"}, Format.NATIVE),
        ({"ports": []}, Format.NEUTRON),
        ({"trunk": {}}, Format.NEUTRON),
        ({"resources": [{"name": "port", "collection": "ports", "links": []}]}, Format.NEUTRON),
        ({"hostResources": {}}, Format.GOALSTATE),
        ({"port_states": {}}, Format.GOALSTATE),
        ({"status": 204}, Format.UNKNOWN),
        ({}, Format.UNKNOWN),
        ("text", Format.UNKNOWN),
    ],
)
def test_formats_are_known_by_their_fields(value: object, expected: Format) -> None:
    """The name of a file decides nothing."""
    assert format_of(Document("x", value)) is expected


def test_standard_input(tmp_path: Path) -> None:
    """A dash stands for what the caller has read."""
    file = tmp_path / "net.json"
    file.write_bytes(NEUTRON)
    found = read_files(["-", file], stdin=NATIVE)
    assert [made.resources[0].id for made in found.changesets] == ["v1", "n1"]


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    """Every file is read before anything is refused."""
    (tmp_path / "a.yaml").write_text(
        "resources: [{kind: vpc, id: v, revision: 0}]\n---\nresources: 5"
    )
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        read_files(sorted(tmp_path.iterdir()))
    shown = str(caught.value)
    assert "a.yaml, document 1, resources[0].revision" in shown
    assert "a.yaml, document 2, resources" in shown
    assert "b.json, line 1" in shown


def test_missing_files_are_named(tmp_path: Path) -> None:
    """All of them, before anything else is done."""
    with pytest.raises(ConfigError) as caught:
        read_files([tmp_path / "x", tmp_path / "y", tmp_path])
    assert len(caught.value.faults) == 3


def test_a_changesets_id_stands_once() -> None:
    """The same changeset twice is told and taken once; two of one id are refused."""
    same = read_texts([("a", NATIVE), ("b", NATIVE)])
    assert (len(same.changesets), len(same.warnings)) == (1, 1)
    named = b'{"changeset": "c", "kind": "vpc", "id": "%s", "revision": 1}'
    with pytest.raises(ConfigError, match="two different changesets"):
        read_texts([("a", named % b"v1"), ("b", named % b"v2")])


def test_a_screenful_of_faults_is_enough() -> None:
    """Thousands of faults are counted, not shown."""
    bad = b'{"kind": "vpc", "id": "v", "revision": 0}\n'
    with pytest.raises(ConfigError) as caught:
        read_texts([("a", bad * 1000)])
    assert len(caught.value.faults) == 201
    assert caught.value.faults[-1].value == 800


def test_the_examples_are_sound() -> None:
    """Every example is read, nothing is left out, and no reference hangs in the air."""
    files = [path for path in sorted(EXAMPLES.glob("*.yaml")) if path.name != "topology.yaml"]
    assert files
    found = read_files(files)
    assert not found.unplaced
    assert not found.warnings
    resources = {item.key: item for made in found.changesets for item in made.resources}
    for key, item in resources.items():
        assert set(references(key, item.spec)) <= set(resources)


def test_an_agent_loads_none_of_this() -> None:
    """Importing what an agent stands on brings in neither pydantic nor YAML."""
    code = (
        "import sys, southbound.resources, southbound.settings, southbound.wire.reports,"
        " southbound.partitioning, southbound.edge.kafka, southbound.nca\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('pydantic', 'yaml')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
