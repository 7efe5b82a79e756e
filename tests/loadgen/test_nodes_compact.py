"""The compact node against the real agent's core: equal after every record, whatever comes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.resources import ResourceKey, host_scope
from southbound.wire.envelope import FLAG_COPIED
from southbound.wire.keys import encode_key
from tests.loadgen.twins import Twins
from tests.nca.records import Put, gone, of_host, of_vpc, port, value_of
from tests.nca.world import HOST, address, host

VPCS = ("va", "vb")
_revisions = st.integers(1, 6)


@st.composite
def _puts(draw: st.DrawFn) -> Put:
    revision = draw(_revisions)
    vpc = draw(st.sampled_from(VPCS))
    put = draw(
        st.sampled_from(
            [
                port(HOST, "p0", revision, VPCS[revision % 2], n=revision),
                port(HOST, "p1", revision, "va", fixed_ips=[{"subnet_id": "s0"}]),
                port(HOST, "p2", revision, n=revision),
                port(HOST, "p3", revision, "vb", security_groups=["g0"]),
                of_host(HOST, "router", "r0", revision, n=revision),
                of_host(HOST, "route", "t0", revision, router_id="r0"),
                of_host(HOST, "dhcp", "d0", revision, port_id="p1"),
                of_host(HOST, "unheard_of", "u0", revision, port_id="p1"),
                of_vpc(vpc, "vpc", vpc, revision, n=revision),
                of_vpc(vpc, "subnet", "s0", revision, vpc_id=vpc),
                of_vpc(vpc, "security_group", "g0", revision),
                of_vpc(vpc, "security_group_rule", "gr", revision, security_group_id="g0"),
                of_vpc(vpc, "neighbor", "n0", revision, vpc_id=vpc, subnet_id="s0"),
            ]
        )
    )
    return gone(put, revision) if revision % 5 == 0 else put


@st.composite
def _changesets(draw: st.DrawFn) -> tuple[Put, ...]:
    puts = draw(st.lists(_puts(), min_size=1, max_size=4))
    first = puts[0].scope
    return tuple({put.key: put for put in puts if put.scope == first}.values())


_actions = st.one_of(
    st.tuples(st.just("publish"), _changesets()),
    st.tuples(st.just("publish"), _changesets()),
    st.tuples(st.just("half"), _changesets()),
    st.tuples(st.just("old half"), _changesets()),
    st.tuples(st.just("foreign"), st.integers(0, 1)),
    st.tuples(st.just("garbage"), st.binary(max_size=6)),
    st.tuples(st.just("null"), _puts()),
    st.tuples(st.just("read"), st.integers(0, 3)),
    st.tuples(st.just("read"), st.integers(0, 3)),
    st.tuples(st.just("read all"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.4, 6.0, 40.0])),
    st.tuples(st.just("move"), st.sampled_from(["host-b", "host-c", "host-a"])),
)


class _Run:
    def __init__(self) -> None:
        self.twins = Twins()
        for vpc in VPCS:
            self.twins.vpcs[vpc] = VpcPlacement(1, (Placement("vpc-a", 0), Placement("vpc-c", 0)))
        self.sets = 0

    def act(self, name: str, what: Any) -> None:
        twins = self.twins
        match name:
            case "publish":
                twins.publish(*what)
            case "half" | "old half":
                self.sets += 1
                age_s = 60.0 if name == "old half" else 0.0
                for index, put in enumerate(what):
                    twins.publish_part(put, f"half{self.sets}", index, len(what) + 1, age_s=age_s)
            case "foreign":
                scope = (host_scope("h2"), host_scope("h10"))[what]
                other = encode_key(ResourceKey(scope, "port", "p0"))
                twins.write(twins.places(host())[0], other, b"\xff")
            case "garbage":
                self._write_garbage(what)
            case "null":
                for where in twins.places(what.scope):
                    twins.write(where, encode_key(what.key), None)
            case "read":
                twins.step(what)
            case "read all":
                twins.read_all(what)
            case "wait":
                # A marker that nobody reads in time would be bridged by a resync.
                twins.read_all()
                twins.wait(what)
            case "move":
                self._move(what)
        twins.agree()

    def _write_garbage(self, data: bytes) -> None:
        twins = self.twins
        prefix = b"h\x1f" + HOST.encode() + b"\x1f"
        for key in (prefix + b"port\x1fbroken", prefix + b"port\x1fp0", prefix + data, prefix):
            twins.write(twins.places(host())[0], key, b"\xff" + data)
        good = value_of(port(HOST, "p0", 3), "g")
        for key in (prefix + b"port\x1f\x1fp", prefix + b"port", prefix + b"\xc3\x1fp\x07"):
            twins.write(twins.places(host())[0], key, good)

    def _move(self, pool: str) -> None:
        """Move the host as a mover does: copies, marker, seal."""
        twins = self.twins
        old = twins.rows[HOST]
        if pool == old.pool:
            return
        epoch = old.epoch + 1
        target = address(host(), Placement(pool, 0, epoch))
        new = Placement(pool, 0, epoch, len(twins.logs.get(target, [])))
        for key, value in twins.logs.get(address(host(), old), [])[old.start :]:
            if key.startswith(b"h\x1f" + HOST.encode() + b"\x1f") and value is not None:
                twins.write(target, key, _copied(value))
        twins.rows[HOST] = new
        twins.mark(host(), old, new)
        twins.seal(host(), new)

    def finish(self) -> None:
        for _ in range(3):
            self.twins.read_all()
            self.twins.wait(40.0)
        self.twins.agree(at_end=True)


def _copied(value: bytes) -> bytes:
    from southbound.errors import WireError
    from southbound.wire.envelope import with_flags

    try:
        return with_flags(value, epoch=1, flags=FLAG_COPIED)
    except WireError:
        return value


@given(st.lists(_actions, max_size=40))
@settings(max_examples=300, deadline=None)
def test_the_compact_node_agrees_after_every_record(actions: list[tuple[str, Any]]) -> None:
    """Any order of revisions, deletes, sets, halves, garbage, nulls, moves and waits."""
    run = _Run()
    for name, what in actions:
        run.act(name, what)
    run.finish()
