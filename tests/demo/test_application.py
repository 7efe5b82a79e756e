"""The demonstration's application: complete, valid, and as it is told."""

from __future__ import annotations

from southbound.demo import application
from southbound.demo.expected import Published
from southbound.documents.kinds import validate_spec

HOSTS = [f"host-{number:02d}" for number in range(30)]


def _changesets() -> Published:
    published = Published()
    placed = application.launches(HOSTS)
    published.add(application.networks())
    published.add(application.launch_changeset(launch) for launch in placed)
    published.add(application.routers(placed))
    published.add(application.balancers(4))
    return published


def test_every_spec_is_valid() -> None:
    """What the demonstration publishes passes the publisher's own judgement."""
    placed = application.launches(HOSTS)
    changesets = [
        *application.networks(),
        *map(application.launch_changeset, placed),
        *application.routers(placed),
        *application.balancers(4),
        application.changed_rule(2, "10.0.0.0/8"),
        application.renamed_port(placed[0], 2),
    ]
    faults = [
        validate_spec(one.kind, one.spec) for changeset in changesets for one in changeset.resources
    ]
    assert len(faults) > 100
    assert not any(faults)


def test_every_machine_becomes_complete() -> None:
    """No reference leads nowhere: each launched machine's port stands on its host."""
    published = _changesets()
    for launch in application.launches(HOSTS):
        held = {key.id for key in published.of_host(launch.host)}
        assert {f"port-{launch.name}", f"dhcp-{launch.name}", launch.tier.group} <= held


def test_some_hosts_stay_empty_and_addresses_are_unique() -> None:
    """The last hosts hold nothing; no two machines share an address or a hardware address."""
    placed = application.launches(HOSTS)
    assert _changesets().of_host(HOSTS[-1]) == {}
    assert len({launch.address for launch in placed}) == len(placed)
    assert len({launch.mac for launch in placed}) == len(placed)


def test_the_changed_rule_concerns_the_shop_alone() -> None:
    """One resource of one VPC changes; hosts of the lab hold what they held."""
    changed = application.changed_rule(2, "10.0.0.0/8")
    assert application.scopes_of([changed]) == {changed.resources[0].scope}
    published = _changesets()
    lab = next(one for one in application.launches(HOSTS) if one.tier is application.BENCH)
    before = published.of_host(lab.host)
    published.add([changed])
    assert published.of_host(lab.host) == before
