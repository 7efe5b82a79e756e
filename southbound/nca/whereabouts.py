"""Where this host's stream and those of its VPCs are. Pure.

The rule: the directory is believed only forwards. It tells a first start where to begin, and where a
VPC's replica is; a stream that is being read moves by its marker. Only when the directory says that
it has moved and no marker comes in time is the marker's gap bridged, by an explicit resync.

All streams are wanted in the host's own cluster. After a move to another one, a VPC is read where it
was until its replica in the new cluster is found, and then there, with the state kept.
"""

from __future__ import annotations

from southbound.errors import PlanError
from southbound.nca.desired import Desired
from southbound.nca.draft import Draft
from southbound.nca.events import Located, Now
from southbound.nca.interest import Interest
from southbound.nca.positions import Positions, Stream
from southbound.nca.reading import Reading
from southbound.nca.retries import Retries
from southbound.nca.snapshot import Reason
from southbound.nca.state import OwedPresence
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology
from southbound.resources import PORT, Scope, host_scope, vpc_scope
from southbound.settings import AgentSettings


class Whereabouts:
    """Begins, moves and ends streams.

    `announcements` gathers words for the interest topic; whoever tells them resets it. `joined` and
    `left` count VPCs.
    """

    def __init__(
        self,
        host: str,
        positions: Positions,
        reading: Reading,
        desired: Desired,
        draft: Draft,
        settings: AgentSettings,
    ) -> None:
        self._scope = host_scope(host)
        self._positions = positions
        self._reading = reading
        self._desired = desired
        self._draft = draft
        self._settings = settings
        self._ahead: tuple[Placement, float] | None = None
        self._asked: set[str] = set()
        self._unfound: Retries[str] = Retries(settings.resolve_first_s, settings.resolve_max_s)
        self.interest = Interest(settings.interest_grace_s)
        self.announcements: list[OwedPresence] = []
        self.joined = 0
        self.left = 0

    @property
    def host_stream(self) -> Stream | None:
        """The host's own stream, or None while nobody knows where it is."""
        return self._positions.get(self._scope)

    @property
    def cluster(self) -> str | None:
        """The cluster that the host is placed in, as far as that is known."""
        return _cluster_of(self.host_stream)

    @property
    def unresolved(self) -> int:
        """How many wanted VPCs have not been found in the host's cluster."""
        return len(self._asked) + sum(vpc not in self._asked for vpc in self._unfound)

    def follows_all(self) -> bool:
        """Tell whether the host and each VPC that is wanted have a stream."""
        scopes = [self._scope, *map(vpc_scope, self.interest.wanted())]
        return all(self._positions.get(scope) is not None for scope in scopes)

    def located(self, answer: Located) -> None:
        """Take what the directory says."""
        self._asked.clear()
        self._take_topology(answer.topology)
        if answer.host is not None:
            self._take_host(answer.host, answer.now)
        cluster = self.cluster
        for vpc, placement in answer.vpcs.items():
            self._take_vpc(vpc, placement, cluster, answer.now)

    def ask(self, now: Now) -> tuple[str, ...]:
        """Return the wanted VPCs that must be looked for at this time."""
        cluster = self.cluster
        if cluster is None:
            return ()
        for vpc in [one for one in self._unfound if self._is_followed(one, cluster)]:
            # It came back to where that is read before it was found where the host had gone.
            self._unfound.done(vpc)
        due = set(self._unfound.due(now.s))
        wanted = tuple(
            vpc
            for vpc in self.interest.wanted()
            if vpc not in self._asked
            and (vpc in due or vpc not in self._unfound)
            and not self._is_followed(vpc, cluster)
        )
        self._asked.update(wanted)
        return wanted

    def tick(self, now: Now) -> None:
        """Leave the VPCs whose grace period is over; bridge a gap whose marker has not come."""
        for vpc in self.interest.expired(now.s):
            # What refers to a VPC goes before it.
            if self._desired.refused_to_go(PORT):
                self.interest.keep(vpc, now.s)
            else:
                self._leave(vpc)
        if self._ahead is not None and now.s >= self._ahead[1]:
            placement, _ = self._ahead
            self._ahead = None
            stream = self.host_stream
            if stream is not None and stream.placement.epoch < placement.epoch:
                stream.placement = placement
                self._reading.resync(stream, Reason.GAP)

    def deadline_s(self) -> float | None:
        """Return when `tick` or `ask` will have something to do."""
        times = (
            self.interest.deadline_s(),
            self._unfound.deadline_s(),
            None if self._ahead is None else self._ahead[1],
        )
        return min((at_s for at_s in times if at_s is not None), default=None)

    # What the directory said.

    def _take_topology(self, topology: Topology) -> None:
        known = self._reading.topology
        if known is not None and (topology.version < known.version or topology == known):
            return
        self._reading.topology = topology
        self._draft.topology(topology)
        self._reading.changed = True
        for stream in list(self._positions):
            if stream.address is None:
                stream.locate(topology)
                self._positions.put(stream)

    def _take_host(self, placement: Placement, now: Now) -> None:
        stream = self.host_stream
        if stream is None:
            self._reading.enter(Stream(self._scope, placement), placement, Reason.FIRST)
        elif placement.epoch > stream.placement.epoch:
            # Without a partition to read from, no marker can come.
            wait_s = self._settings.marker_wait_s if stream.address is not None else 0.0
            if self._ahead is None or self._ahead[0].epoch < placement.epoch:
                self._ahead = (placement, now.s + wait_s)

    def _take_vpc(
        self, vpc: str, placement: VpcPlacement | None, cluster: str | None, now: Now
    ) -> None:
        if cluster is None or vpc not in self.interest.wanted():
            self._unfound.done(vpc)
            return
        if self._is_followed(vpc, cluster):
            return
        replica = self._replica(placement, cluster)
        if replica is None:
            self._unfound.failed(vpc, now.s)
            return
        self._unfound.done(vpc)
        self._follow(vpc_scope(vpc), replica, cluster)

    def _replica(self, placement: VpcPlacement | None, cluster: str) -> Placement | None:
        topology = self._reading.topology
        if placement is None or topology is None:
            return None
        try:
            return placement.in_cluster(cluster, topology)
        except PlanError:
            return None

    # Following and leaving.

    def _is_followed(self, vpc: str, cluster: str) -> bool:
        return _cluster_of(self._positions.get(vpc_scope(vpc))) == cluster

    def _follow(self, scope: Scope, replica: Placement, cluster: str) -> None:
        stream = self._positions.get(scope)
        before = _cluster_of(stream)
        if before is not None:
            self.announcements.append(OwedPresence(before, scope.id, present=False))
        if stream is None:
            stream = Stream(scope, replica)
            self.joined += 1
        self._reading.enter(stream, replica, Reason.FIRST)
        self.announcements.append(OwedPresence(cluster, scope.id, present=True))

    def _leave(self, vpc: str) -> None:
        scope = vpc_scope(vpc)
        self._unfound.done(vpc)
        stream = self._positions.drop(scope)
        if stream is None:
            return
        self.left += 1
        self._reading.changed = True
        self._reading.holding.abandon(scope)
        self._draft.stream(scope)
        self._desired.remove(list(self._desired.of_scope(scope)))
        cluster = _cluster_of(stream)
        if cluster is not None:
            self.announcements.append(OwedPresence(cluster, vpc, present=False))


def _cluster_of(stream: Stream | None) -> str | None:
    """Return the cluster in which a stream is read, or None when it is not known."""
    return None if stream is None or stream.address is None else stream.address.cluster
