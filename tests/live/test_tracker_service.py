"""The tracker service on real clusters: one process publishes, agents apply, another answers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from southbound.directory.rollcall import RollCall
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError, NotConverged
from southbound.local.fleet import LocalFleet
from southbound.local.ports import free_ports
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Change
from southbound.nca.service import Agent
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, host_scope
from southbound.settings import AgentSettings
from southbound.tracker.client import TrackerClient
from southbound.tracker.herald import Herald
from southbound.tracker.messages import EffectiveHost
from southbound.tracker.summary import Summary
from tests.live.directory_kit import DirectoryKit, eventually, kit_of, prepared_topology

Unique = Callable[[str], str]
_WITHIN_S = 60.0
_SETTINGS = AgentSettings(inventory_spread_s=0.5, poll_s=0.2, retry_max_s=1.0)


class Site:
    """A fleet with its agents, a tracker process, and a terminal to publish from."""

    def __init__(self, kit: DirectoryKit, folder: Path) -> None:
        self.kit = kit
        self.folder = folder
        self.state = folder / "tracker"
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = TrackerClient(self.url)
        self.refused: set[str] = set()
        self.agents: list[Agent] = []
        self._tracker: subprocess.Popen[bytes] | None = None
        directory = kit.directory()
        directory.put_topology(kit.topology)

    def start_tracker(self) -> None:
        """Start the process, and wait until it has read what there is."""
        words = ("tracker", "run", "--listen", f"127.0.0.1:{self.port}", "--state-dir")
        self._tracker = subprocess.Popen(
            self._command(*words, str(self.state), "--log-level", "error"), cwd=self.folder
        )
        eventually(self._is_answering, within_s=60)

    def stop_tracker(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process; asked in order, it ends well."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.send_signal(number)
            code = tracker.wait(30)
            assert number == signal.SIGKILL or code == 0

    def agent(self, host: str, az: str) -> Agent:
        """Start a host's agent, whose applier refuses what `refused` names."""

        def refuse(change: Change) -> str | None:
            return "no such device" if change.key.id in self.refused else None

        made = Agent(
            host=host,
            az=az,
            state_dir=self.folder / host,
            applier=MemoryApplier(refuse),
            redis_url=self.kit.redis_url,
            settings=_SETTINGS,
        )
        made.start()
        self.agents.append(made)
        return made

    def publish(self, documents: object, *words: str, code: int = 0) -> dict[str, Any]:
        """Publish in a process of its own; return what it said."""
        file = self.folder / "changes.json"
        file.write_text(json.dumps(documents))
        done = subprocess.run(
            self._command("publish", str(file), "--output", "json", "--tracker", self.url, *words),
            cwd=self.folder, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        said: dict[str, Any] = json.loads(done.stdout or "{}")
        return said

    def close(self) -> None:
        """End everything."""
        for agent in self.agents:
            agent.stop()
        self.stop_tracker(signal.SIGKILL)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "southbound.cli", *words, "--redis", self.kit.redis_url]

    def _is_answering(self) -> bool:
        try:
            return self.client.changesets(limit=1) is not None and _is_ready(self.url)
        except EdgeError:
            return False


def _is_ready(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


@pytest.fixture
def site(fleet: LocalFleet, tmp_path: Path) -> Iterator[Site]:
    """Return a site on the shared clusters, with a Redis database of its own."""
    os.environ.pop("SOUTHBOUND_TRACKER", None)
    with kit_of(fleet, prepared_topology(fleet), 11) as kit:
        made = Site(kit, tmp_path)
        yield made
        made.close()


def _states(found: EffectiveHost | None) -> dict[str, tuple[str, int]]:
    assert found is not None
    return {one.id: (one.state, one.revision) for one in found.resources}


def _has_told_all(found: EffectiveHost | None) -> bool:
    return found is not None and found.inventory_us > 0


def test_from_publishing_to_a_gate_over_restarts_and_a_lost_store(
    site: Site, unique: Unique
) -> None:
    """Applied, failed and parked are told with their reasons, by a tracker that is killed meanwhile."""
    near, far, vpc, group = unique("host"), unique("host"), unique("vpc"), unique("sg")
    port, parked, broken = unique("port"), unique("port"), unique("port")
    site.agent(near, "az-a")
    site.agent(far, "az-b")
    site.start_tracker()
    site.refused.add(broken)
    said = site.publish(
        [
            {"kind": "vpc", "id": vpc, "revision": 1, "spec": {"name": "v"}},
            _port(near, port, {"vpc_id": vpc}),
            _port(far, parked, {"vpc_id": vpc, "security_groups": [group]}),
            _port(far, broken, {"vpc_id": vpc}),
        ],
        "--wait", "applied", "--timeout", "15", code=NotConverged.exit_code,
    )  # fmt: skip
    assert f"security_group/{group}" in json.dumps(said)
    assert "no such device" in json.dumps(said)

    assert site.client.gate(near, "port", port, revision=1, timeout_s=_WITHIN_S).ready
    waits = site.client.gate(far, "port", parked, timeout_s=0)
    assert (waits.outcome, waits.ready) == ("pending", False)
    assert group in waits.why
    fails = site.client.gate(far, "port", broken, timeout_s=0)
    assert fails.outcome == "failed"
    assert "no such device" in fails.why
    changesets = [one["changeset"] for one in said["changesets"]]
    before = (site.client.host(near), site.client.host(far), _summaries(site, changesets))
    assert {one.standing for one in before[2] if one is not None} == {"accepted"}

    site.stop_tracker(signal.SIGKILL)
    site.start_tracker()
    after = (site.client.host(near), site.client.host(far), _summaries(site, changesets))
    assert [_states(one) for one in after[:2]] == [_states(one) for one in before[:2]]
    assert after[2] == before[2]

    site.stop_tracker()
    site.refused.clear()
    shutil.rmtree(site.state)
    site.start_tracker()
    assert site.client.gate(far, "port", broken, timeout_s=_WITHIN_S).ready
    eventually(lambda: _has_told_all(site.client.host(near)), saying=lambda: site.client.host(near))
    assert _states(site.client.host(near)) == _states(before[0])

    # From a library that waits for no tracker; and who is at work says so.
    heralded = Resource(host_scope(near), "port", port, 2, {"vpc_id": vpc, "name": "again"})
    with (
        Herald(site.url) as herald,
        Publisher(site.kit.directory(), listener=herald) as publisher,
    ):
        publisher.publish(Changeset(unique("heralded"), (heralded,)))
        (one,) = publisher.publish_many([Changeset(unique("many"), (heralded,))])
    assert (herald.told, herald.untold) == (4, 0)
    summary = site.client.changeset(one.changeset, timeout_s=_WITHIN_S)
    assert summary is not None
    assert (summary.standing, summary.settled) == ("accepted", True)
    with closing(RedisLink(site.kit.redis_url, timeout_s=5.0, client_name="look")) as link:
        # A process that was killed is named until its sign ends.
        assert {sign.service for sign in RollCall(link).signs()} == {"tracker"}


def _port(host: str, id: str, spec: dict[str, object]) -> dict[str, object]:
    return {"kind": "port", "host": host, "id": id, "revision": 1, "spec": spec}


def _summaries(site: Site, changesets: list[str]) -> list[Summary | None]:
    return [site.client.changeset(one) for one in changesets]
