"""The numbers of a report in words, each with how it was come by."""

from __future__ import annotations

from loadgen.storm.formulas import Burden, Cost
from loadgen.storm.restarts import READER
from loadgen.storm.storm import Report, Side, Storm
from southbound.bench.result import BenchResult, Row

_ELSEWHERE = {10_000: "<= 60", 100_000: "<= 600"}
_PUBLISHED = (
    "Eucalyptus, by broadcast: a restart of 10,000 instances about 1 min, of 100,000 about 10 min, "
    "broadcasts at least 5 s apart (published)"
)


def result_of(report: Report) -> BenchResult:
    """Return the report's numbers as a benchmark's outcome."""
    return BenchResult("storm", rows(report), baseline(report), ratios(report), settings(report))


def rows(report: Report) -> tuple[Row, ...]:
    """Return the numbers of streams."""
    found: list[Row] = []
    for storm in report.storms:
        who = f"{storm.nodes:,} nodes"
        aim = _ELSEWHERE.get(storm.instances, "")
        found += [
            Row(f"{who}, all hold everything, measured", storm.streams.seconds, "s", aim),
            Row(f"{who}, p50 holds everything, measured", storm.streams.p50_s, "s"),
            Row(f"{who}, bytes a node, measured", storm.streams.bytes_each, "B"),
            Row(f"{who}, bytes a node that are its own, computed", storm.burdens.needed, "B"),
            Row(f"{who}, records read for each needed, measured", storm.amplification, "x"),
            _off(who, storm.streams, storm.burdens.streams),
        ]
    cost = report.storms[-1].streams.cost
    for nodes, burdens in report.computed.items():
        found += _computed(f"{nodes:,} nodes", cost, burdens.streams)
    return tuple(found)


def baseline(report: Report) -> tuple[Row, ...]:
    """Return the numbers of broadcast and of polling."""
    found: list[Row] = []
    for storm in report.storms:
        found += [*_broadcast(storm), *_polling(storm)]
    last = report.storms[-1]
    for nodes, burdens in report.computed.items():
        found += _computed(f"broadcast, {nodes:,} nodes", last.broadcast.cost, burdens.broadcast)
        found += _computed(f"polling, {nodes:,} nodes", last.polling.cost, burdens.polling)
    return (*found, *_steady(report))


def ratios(report: Report) -> tuple[Row, ...]:
    """Return each baseline by streams: times and bytes, measured sizes first."""
    found: list[Row] = []
    for storm in report.storms:
        ours, who = storm.streams, f"{storm.nodes:,} nodes"
        for name, other in (("broadcast", _all_of(storm)), ("polling", storm.polling)):
            found += [
                Row(f"{name} / streams, {who}, time", other.seconds / ours.seconds, "x"),
                Row(f"{name} / streams, {who}, bytes", other.bytes_each / ours.bytes_each, "x"),
            ]
    last = report.storms[-1]
    for nodes, burdens in report.computed.items():
        seconds = last.streams.cost.seconds_for(burdens.streams)
        for name, cost, burden in (
            ("broadcast", last.broadcast.cost, burdens.broadcast),
            ("polling", last.polling.cost, burdens.polling),
        ):
            who = f"{nodes:,} nodes"
            times = cost.seconds_for(burden) / seconds
            found += [
                Row(f"{name} / streams, {who}, time, computed", times, "x"),
                Row(
                    f"{name} / streams, {who}, bytes, computed",
                    burden.each / burdens.streams.each,
                    "x",
                ),
            ]
    return tuple(found)


def settings(report: Report) -> dict[str, str]:
    """Return what was measured and how, and the formulas."""
    bench = report.bench
    pools = zip(report.storms, report.topologies, strict=True)
    return {
        "fleet": f"{bench.vms_per_host} VMs a host, VPCs of one AZ each, neighbours in VPCs of at "
        f"most {bench.neighbors_max} ports, seed {bench.seed}",
        **{f"pools, {storm.nodes:,} nodes": pools for storm, pools in pools},
        "streams": f"a hall and Consumers of its own for each node; {bench.processes} processes, "
        f"{bench.at_once} nodes of each at a time; the directory asked by each; no SQLite, no applier",
        "broadcast": "msgpack with each scope's part raw; each node connects, receives all, decodes "
        f"its own; {bench.processes} processes, one server; at most {bench.broadcast_bytes:,} bytes sent",
        "polling": "each node connects and is sent its own document, put together when asked for",
        "bytes": "keys and values, or documents; without the frames of Kafka, TCP and IP",
        "bytes a node, streams, computed": "H (1 + h) + the bytes of its VPCs + (d (w + 1) - k) V, with "
        "d = s (1 - (1 - 1/s)^k)",
        "bytes a node, broadcast, computed": "nodes x H + VPCs x V, as a document",
        "bytes a node, polling, computed": "H + the bytes of its VPCs, as a document",
        "time, computed": "nodes x seconds a node x bytes a node / bytes a node, each of the "
        "largest measured run: this one machine does the work of all",
        **_crowds(report),
        **{f"consumer {name}": f"{value}" for name, value in READER.items()},
        "to beat": _PUBLISHED,
    }


def _crowds(report: Report) -> dict[str, str]:
    last = report.storms[-1]
    return {
        "H, V": "mean bytes of a host's part and of a VPC's, of samples of a fleet of that size",
        "k, s": "VPCs that a node follows, VPC slots of a cluster",
        "h, w": f"{last.crowd.hosts:.2f} hosts beside one's own in a slot, {last.crowd.vpcs:.2f} VPCs",
    }


def _broadcast(storm: Storm) -> list[Row]:
    side, who = storm.broadcast, f"broadcast, {storm.nodes:,} nodes"
    every = _all_of(storm)
    how = "measured" if side.seen == storm.nodes else f"computed from {side.seen:,} nodes"
    return [
        Row(f"{who}, all hold everything, {how}", every.seconds, "s"),
        Row(f"{who}, bytes a node, measured", side.bytes_each, "B"),
        Row(f"{who}, encoding the document once, measured", storm.encode_s, "s"),
        _off(who, side, storm.burdens.broadcast),
    ]


def _polling(storm: Storm) -> list[Row]:
    side, who = storm.polling, f"polling, {storm.nodes:,} nodes"
    return [
        Row(f"{who}, all hold everything, measured", side.seconds, "s"),
        Row(f"{who}, bytes a node, measured", side.bytes_each, "B"),
        _off(who, side, storm.burdens.polling),
    ]


def _steady(report: Report) -> list[Row]:
    """Return what polling costs while nothing happens, and when a change is noticed."""
    every_s, served = report.bench.poll_every_s, report.storms[-1].polls_per_s
    asked = f"polling every {every_s:g} s"
    return [
        Row("polling, answers of one server that nothing is new, measured", served, "1/s"),
        Row(f"{asked}, nodes of one server, computed", served * every_s, "nodes"),
        Row(f"{asked}, mean wait of a change, computed", every_s / 2, "s"),
        *(
            Row(f"{asked}, questions of {nodes:,} nodes, computed", nodes / every_s, "1/s")
            for nodes in report.computed
        ),
    ]


def _all_of(storm: Storm) -> Side:
    """Return the broadcast to all nodes: as measured, or as many times as long as to those seen."""
    side = storm.broadcast
    return side._replace(seconds=side.seconds * storm.nodes / side.seen)


def _computed(who: str, cost: Cost, burden: Burden) -> list[Row]:
    return [
        Row(f"{who}, all hold everything, computed", cost.seconds_for(burden), "s"),
        Row(f"{who}, bytes a node, computed", burden.each, "B"),
    ]


def _off(who: str, side: Side, burden: Burden) -> Row:
    return Row(f"{who}, bytes a node, computed / measured", burden.each / side.bytes_each, "x", "1")
