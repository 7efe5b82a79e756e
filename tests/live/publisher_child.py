"""A publisher in a process of its own, which a test stops and continues: REDIS_URL HOST.

It publishes one revision of one resource after the other, and prints each that was accepted.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from southbound.directory import Directory
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, host_scope
from southbound.settings import DirectorySettings, PublisherSettings


def tell(revision: int, done: Future[Any]) -> None:
    """Print a revision that was accepted, in one piece."""
    if done.exception() is None:
        os.write(sys.stdout.fileno(), f"{revision}\n".encode())


def main(redis_url: str, host: str) -> None:
    """Publish until the process is ended."""
    directory = Directory(DirectorySettings(redis_url=redis_url))
    directory.open()
    with Publisher(directory, PublisherSettings(validate_specs=False)) as publisher:
        for revision in itertools.count(1):
            resource = Resource(host_scope(host), "router", "child", revision, {"n": revision})
            receipt = publisher.publish(Changeset(f"child-{revision}", (resource,)))
            receipt.accepted.add_done_callback(partial(tell, revision))
            time.sleep(0.002)


if __name__ == "__main__":
    main(*sys.argv[1:])
