"""The tracker service as a process: its directory, its HTTP, its end.

The rule: several trackers may run at once, each with a folder of its own; they know nothing of each
other. A signal ends it in order, and whatever ends it, the next start goes on where it stood.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from southbound.directory import Directory
from southbound.nca.health import HealthServer, ServerSettings
from southbound.nca.signals import stopping_on_signals
from southbound.settings import DirectorySettings, TrackerSettings
from southbound.tracker.api import Api
from southbound.tracker.metrics import TrackerCollector
from southbound.tracker.service import TrackerService

log = logging.getLogger(__name__)

_SIGN_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where a tracker answers. `port` 0 takes a free one. `told`: a file that says it meanwhile."""

    host: str = "127.0.0.1"
    port: int = 0
    told: Path | None = None


def serve(service: TrackerService, listen: ListenSettings) -> HealthServer:
    """Return the server, started, that answers for a service. Raises `ConfigError`."""
    registry = CollectorRegistry()
    registry.register(TrackerCollector(service.counters, service.gauges))
    settings = ServerSettings(
        host=listen.host,
        port=listen.port,
        threads_max=service.settings.threads_max,
        body_bytes_max=service.settings.body_bytes_max,
    )
    server = HealthServer(service.status, registry, settings, answer=Api(service).answer)
    server.start()
    return server


def run_tracker(
    redis_url: str, state_dir: Path, settings: TrackerSettings, listen: ListenSettings
) -> None:
    """Run a tracker until it is told to stop. Raises `ConfigError`, `EdgeError`."""
    stop = threading.Event()
    with (
        stopping_on_signals(stop.set),
        Directory(DirectorySettings(redis_url=redis_url, client_id="tracker")) as directory,
    ):
        service = TrackerService(
            lambda: directory.topology,
            state_dir,
            settings,
            clusters_of=lambda vpc: _replicas(directory, vpc),
        )
        service.start()
        try:
            server = serve(service, listen)
            url = "http://{}:{}".format(*server.address)
            log.info("the tracker answers on %s", url)
            try:
                with _told(listen.told, url):
                    _sign_in_until(stop, directory, service, url)
            finally:
                service.bells.close()
                server.close()
        finally:
            service.close()


def _sign_in_until(
    stop: threading.Event, directory: Directory, service: TrackerService, url: str
) -> None:
    """Leave a sign of life again and again, until the end."""
    while True:
        directory.sign_in("tracker", f"answers on {url}", service.status().reasons, _SIGN_S)
        if stop.wait(_SIGN_S / 4):
            return


def _replicas(directory: Directory, vpc: str) -> set[str]:
    """Return the clusters in which a VPC has replicas. Raises `EdgeError`."""
    placed = directory.vpcs([vpc]).get(vpc)
    replicas = () if placed is None else placed.replicas
    pools = (directory.topology.find_pool(replica.pool) for replica in replicas)
    return {pool.cluster for pool in pools if pool is not None}


@contextmanager
def _told(file: Path | None, url: str) -> Iterator[None]:
    """Say in a file where the tracker is, as long as it is there."""
    if file is None:
        yield
        return
    file.write_text(f"{url}\n", encoding="utf-8")
    try:
        yield
    finally:
        if file.is_file() and file.read_text(encoding="utf-8", errors="replace").strip() == url:
            file.unlink()
