"""A simulated agent in a few hundred bytes: its host's stream, and the VPCs that it follows. Pure.

The rule: a node's state is its host's stream (`stream.py`) and the names of its VPCs. A VPC's stream
is one object for all nodes of a cluster that follow it from the same start: a VPC's resources refer
only to each other, so what stands of them is the same on each of these nodes, and what they cost is
paid once. A node that may come to another conclusion, since it begins later and the history of what
was taken away matters (`VpcStream.regular`), gets a stream of its own beside the shared one.

A node follows the VPCs that its ports name, and leaves one a while after its last port has left.
"""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.nodes.digest import digest_of
from loadgen.nodes.stream import Landed, Parked, Stream, Watch
from loadgen.nodes.tally import Tally
from southbound.resources import host_scope, vpc_scope
from southbound.wire.keys import scope_prefix


class Names:
    """Numbers for the names of VPCs, from 1 on."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = [""]

    def number(self, name: str) -> int:
        """Return the number of a name, a new one if need be."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def name(self, number: int) -> str:
        """Return the name that has a number."""
        return self._names[number]


class VpcStream(Stream):
    """A VPC's stream. `followers`: how many nodes it stands for.

    `regular`: who reads the log anew comes to the same. It is not so once something that others may
    name was taken away, or an older revision still stands for one that waits.
    """

    __slots__ = ("_lookers", "_woken_nodes", "followers", "placed", "regular", "vpc")

    def __init__(self, vpc: str, tally: Tally) -> None:
        super().__init__(scope_prefix(vpc_scope(vpc)), tally)
        self.vpc = vpc
        self.followers = 0
        self.regular = True
        self.placed = False
        self._lookers: dict[bytes, dict[CompactNode, None]] = {}
        self._woken_nodes: dict[CompactNode, set[bytes]] = {}

    def expect(self, wanted: bytes, node: CompactNode) -> None:
        """Wake a node when a resource stands."""
        self._lookers.setdefault(wanted, {})[node] = None

    def join(self, node: CompactNode, now_us: int) -> None:
        """Take one more follower."""
        self.followers += 1
        if node.watch is not None:
            fan = self.watch if isinstance(self.watch, Fan) else Fan()
            fan.watches[node] = node.watch
            self.watch = fan
            stands = [
                (suffix, entry, "")
                for suffix in self.entries
                if (entry := self.standing(suffix)) != 0
            ]
            if stands:
                node.watch(self, stands, now_us)

    def leave(self, node: CompactNode) -> None:
        """Let a follower go."""
        self.followers -= 1
        if isinstance(self.watch, Fan):
            self.watch.watches.pop(node, None)
            if not self.watch.watches:
                self.watch = None

    def _stand(self, suffix: bytes, entry: int, waiter: Parked, now_us: int) -> None:
        super()._stand(suffix, entry, waiter, now_us)
        if self._lookers:
            for node in self._lookers.pop(suffix, ()):
                self._woken_nodes.setdefault(node, set()).add(suffix)

    def _tell(self, now_us: int) -> None:
        super()._tell(now_us)
        while self._woken_nodes:
            node, suffixes = self._woken_nodes.popitem()
            node.look(self.vpc, suffixes, now_us)

    def _note_span(self, span_us: int) -> None:
        if self.followers:
            self.tally.wide_spans.append((span_us, self.followers))

    def _doubt(self) -> None:
        self.regular = False


class Fan:
    """Tells the watches of all watched followers of one stream."""

    def __init__(self) -> None:
        self.watches: dict[CompactNode, Watch] = {}

    def __call__(self, stream: Stream, landed: Landed | None, now_us: int) -> None:
        """Tell each."""
        for watch in self.watches.values():
            watch(stream, landed, now_us)


class Home:
    """What the nodes of one cluster share: its VPCs' streams."""

    def __init__(self, cluster: str, names: Names, tally: Tally) -> None:
        self.cluster = cluster
        self.names = names
        self.streams: dict[str, VpcStream] = {}
        self._tally = tally

    def stream(self, vpc: str) -> VpcStream:
        """Return the stream that nodes of this cluster share; one that is not read yet if need be."""
        stream = self.streams.get(vpc)
        if stream is None:
            stream = self.streams[vpc] = VpcStream(vpc, self._tally)
            self._tally.fresh.append((self, stream))
        return stream


class CompactNode(Stream):
    """One simulated agent.

    `ports` counts its ports by the number of the VPC that they name; 0: it is about to be left.
    `apart` holds the streams of VPCs that it does not share.
    """

    __slots__ = ("apart", "home", "ports")

    of_host = True

    def __init__(self, host: str, home: Home, tally: Tally) -> None:
        super().__init__(scope_prefix(host_scope(host)), tally)
        self.home = home
        self.ports: dict[int, int] | None = None
        self.apart: dict[str, VpcStream] | None = None

    @property
    def host(self) -> str:
        """The host's id."""
        return self.prefix[2:-1].decode()

    def vpcs(self) -> Iterator[str]:
        """Yield the VPCs that it follows."""
        return map(self.home.names.name, self.ports or ())

    def streams(self) -> Iterator[Stream]:
        """Yield its own stream and those of its VPCs."""
        yield self
        for vpc in self.vpcs():
            yield self._table(vpc)

    def digest(self) -> int:
        """Return the digest of all that stands applied on it."""
        if self.ports is None:
            return self.total
        return digest_of(stream.total for stream in self.streams())

    def revision_of(self, key: bytes) -> int:
        """Return the revision of a record key that stands applied; 0 when none does."""
        for stream in self.streams():
            if key.startswith(stream.prefix):
                return stream.revision(key[len(stream.prefix) :])
        return 0

    @property
    def waiting_for(self) -> int:
        """How many of its own resources wait for others."""
        return 0 if self.parked is None else len(self.parked)

    def look(self, vpc: str, suffixes: set[bytes], now_us: int) -> None:
        """See whether what waits can stand, now that these of a VPC do."""
        touched = {
            suffix: waiter
            for suffix, waiter in (self.parked or {}).items()
            if any(ref[0] == vpc and ref[1] in suffixes for ref in waiter.refs)
        }
        if touched:
            self._settle(touched, now_us)
            self._tell(now_us)

    def look_again(self, now_us: int) -> None:
        """See whether anything that waits can stand."""
        if self.parked:
            self._settle(dict(self.parked), now_us)
            self._tell(now_us)

    def stream_of(self, vpc: int) -> VpcStream:
        """Return the stream of a VPC (its number) as this node follows it."""
        return self._table(self.home.names.name(vpc))

    def forget(self, vpc: int, now_us: int) -> None:
        """Follow a VPC no more."""
        assert self.ports is not None
        del self.ports[vpc]
        name = self.home.names.name(vpc)
        stream = self._table(name)
        stream.leave(self)
        if self.watch is not None:
            self.watch(stream, None, now_us)
        if self.apart is not None:
            self.apart.pop(name, None)

    def change_home(self, home: Home) -> None:
        """Be of another cluster; the VPCs stay where they are until `share`."""
        self.apart = {vpc: self._table(vpc) for vpc in self.vpcs()}
        self.home = home

    def share(self, vpc: str, now_us: int) -> None:
        """Follow the stream of a VPC that its cluster's nodes share, instead of another."""
        assert self.apart is not None
        self.apart.pop(vpc).leave(self)
        self.home.stream(vpc).join(self, now_us)

    def _table(self, vpc: str) -> VpcStream:
        if self.apart is not None and vpc in self.apart:
            return self.apart[vpc]
        return self.home.stream(vpc)

    def _look_out(self, vpc: str, wanted: bytes) -> None:
        self._table(vpc).expect(wanted, self)

    def _number_of(self, vpc: str | None) -> int:
        return self.home.names.number(vpc) if vpc else 0

    def _note_port(self, before: int, after: int, now_us: int) -> None:
        ports = self.ports
        if ports is None:
            ports = self.ports = {}
        if after:
            if after not in ports:
                self._follow(after, now_us)
            elif ports[after] == 0:
                del self.tally.leaving[self, after]
            ports[after] = ports.get(after, 0) + 1
        if before:
            ports[before] -= 1
            if ports[before] == 0:
                self.tally.leaving[self, before] = now_us + self.tally.limits.grace_us

    def _follow(self, number: int, now_us: int) -> None:
        vpc = self.home.names.name(number)
        stream = self.home.stream(vpc)
        if not stream.regular:
            stream = VpcStream(vpc, self.tally)
            self.apart = {**(self.apart or {}), vpc: stream}
            self.tally.apart.append((self, stream))
        stream.join(self, now_us)

    def _note_span(self, span_us: int) -> None:
        self.tally.spans.append(span_us)
