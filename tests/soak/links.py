"""A fleet whose brokers nobody reaches but through a link that can be cut, slowed and reset.

The rule: it is the local fleet in everything else; who asks it for an address gets the link's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from southbound.local.broker import Broker
from southbound.local.fleet import LocalFleet, LocalSettings, Server
from southbound.local.ports import LOOPBACK
from southbound.local.record import FleetRecord
from tests.faults.proxy import Proxy


class LinkedFleet(LocalFleet):
    """`links` holds the link to each broker, by its name; they are there once the fleet is up."""

    def __init__(self, state_dir: Path, settings: LocalSettings) -> None:
        super().__init__(state_dir, settings)
        self.links: dict[str, Proxy] = {}

    def topology_document(self) -> dict[str, Any]:
        """Return the topology document, with the links' addresses."""
        document = super().topology_document()
        for cluster in document["clusters"]:
            cluster["bootstrap"] = [f"{LOOPBACK}:{self.links[cluster['id']].port}"]
        return document

    def close(self) -> None:
        """Break the links, and end everything."""
        for link in self.links.values():
            link.heal()
        self.down(wipe=True)
        for link in self.links.values():
            link.__exit__()

    def _servers(self, record: FleetRecord | None) -> list[Server]:
        return [
            self._linked(one) if isinstance(one, Broker) else one
            for one in super()._servers(record)
        ]

    def _linked(self, broker: Broker) -> Broker:
        link = self.links.get(broker.name)
        if link is None:
            link = self.links[broker.name] = Proxy(broker.port).__enter__()
        listeners = (
            f"BROKER://{LOOPBACK}:{link.port},CONTROLLER://{LOOPBACK}:{broker.controller_port}"
        )
        overrides = {**broker.settings.overrides, "advertised.listeners": listeners}
        return replace(broker, settings=replace(broker.settings, overrides=overrides))
