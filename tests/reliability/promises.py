"""The promises, word for word, and what stands behind each of them.

The rule: what is said here names tests that exist (a test looks), and holds no number: those come
from the records of runs.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One promise. `tested`: path of a test (or a folder) to what it shows. `assumes`: under what."""

    number: int
    words: str
    tested: tuple[tuple[str, str], ...]
    assumes: tuple[str, ...]


_KAFKA = (
    "A cluster keeps what it acknowledged: replication factor 3 and `min.insync.replicas` 2 in "
    "production, no unclean leader election. With one copy (as in most of these tests) a lost disk "
    "loses records, and only nodes keep what they have."
)
_LAG = (
    "`min.compaction.lag.ms` is at least an hour, and a janitor looks at every slot within half of "
    "it: else compaction may keep the lower of two revisions that were written in inverse order."
)
_REDIS = (
    "Nothing of Redis: its rows may be lost, old or wrong. Its persistence and replication only "
    "decide how soon unknown hosts are found again."
)
_CLOCKS = (
    "Clocks of publishers, agents and executors of plans may be wrong by years. Brokers' clocks must "
    "be right to a few minutes: compaction, and ages in slots, go by their stamps. Of a janitor's "
    "clock and Redis', the one that is earlier must not be ahead by more than a day: nulls and the "
    "pruning of `sb.moves` go by it."
)
_DISK = (
    "A disk may lose power's last half minute, be cut, flip bits or be full; it may not bring back "
    "an older file in place of a newer one without a trace."
)

PROMISES = (
    Promise(
        1,
        "No accepted change is lost, whatever crashes, moves or pauses, and whatever Redis forgets.",
        (
            ("tests/model", "every interleaving of publishers, executors, agents and janitors"),
            ("tests/simulation", "seeded schedules of crashes, partitions, lost suffixes, moves"),
            ("tests/faults/test_kills.py", "SIGKILL at every failpoint, on real servers"),
            (
                "tests/faults/test_servers.py",
                "brokers and Redis killed, stopped, wiped; leaders lost",
            ),
            ("tests/faults/test_links.py", "links delayed, throttled, cut one way, reset, refused"),
            ("tests/faults/test_logs.py", "topics made anew under their names, and cut logs"),
            ("tests/faults/test_disks.py", "full disks under a broker and under who publishes"),
            ("tests/faults/test_crowd.py", "thousands of agents that lose their cluster at once"),
            ("tests/soak", "load, moves and faults in rotation, beside a janitor and compaction"),
            (
                "tests/faults/test_clocks.py",
                "clocks years off, and what compaction has left of a set",
            ),
            ("tests/live/test_shards_failover.py", "a Redis replaced by one that lost writes"),
            ("tests/live/test_janitor.py", "what compaction may not lose"),
        ),
        (_KAFKA, _REDIS, _LAG, _CLOCKS),
    ),
    Promise(
        2,
        "Revisions never go backwards on a node; a change is applied once, whole.",
        (
            ("tests/nca/test_core_properties.py", "any order, repetition and loss of records"),
            ("tests/faults/test_kills.py", "the tree as a reader finds it after each kill"),
            (
                "tests/soak",
                "each plan of each node, and its tree as a reader finds it, all the time",
            ),
            ("tests/faults/test_store_damage.py", "a store cut at every page, and flipped bits"),
            ("tests/faults/test_nodes.py", "full disks, limits, clocks, other versions"),
            ("tests/nca/appliers/test_file.py", "a reader sees the old state or the new one"),
        ),
        (
            _DISK,
            (
                "Once: a crash between applying and noting it applies the same revision again, to the "
                "same effect; an applier must bear that."
            ),
        ),
    ),
    Promise(
        3,
        "The sender learns what each node has really applied: accepted, applied, failed, pending, "
        "and by which nodes. A VM launch can wait for that.",
        (
            ("tests/tracker", "standings, gates and restarts"),
            ("tests/live/test_tracker_service.py", "from publishing to a gate, over restarts"),
            ("tests/faults/test_kills.py", "a tracker killed at each of its failpoints"),
            ("tests/faults/test_nodes.py", "its disk full, and reports gone before they were read"),
            ("tests/soak", "two trackers, one killed again and again: what each knows of a node"),
        ),
        (
            (
                "Reports are kept for three days, and inventories come daily: a tracker away for longer "
                "learns from the next inventory what it missed."
            ),
        ),
    ),
    Promise(
        4,
        "A node restarts into its full configuration from the log alone, with no load on the "
        "control plane; and with everything else down it keeps its last good configuration.",
        (
            ("tests/live/test_agent.py", "fresh starts, restarts, and starts with everything away"),
            ("tests/faults/test_kills.py", "killed at work, and again while taking that up"),
            ("tests/faults/test_servers.py", "a cluster whose only copy is wiped"),
            ("tests/faults/test_logs.py", "a slot made anew or cut while its agent is off"),
            (
                "tests/faults/test_crowd.py",
                "a crowd that comes back spreads its tries to connect, and asks no directory",
            ),
            ("tests/soak", "a node's log read anew after each fault, compacted as it is by then"),
            ("tests/faults/test_store_damage.py", "a store that is broken is read anew"),
        ),
        (
            _KAFKA,
            _LAG,
            "Agents away for longer than half the retention of deletes read a snapshot.",
        ),
    ),
    Promise(
        5,
        "Shards move under traffic with no loss and a pause below 100 ms.",
        (
            ("tests/model", "every interleaving of a move, its rivals and its readers"),
            (
                "tests/live/test_shards.py",
                "moves there and back under traffic, crashes between steps",
            ),
            ("tests/faults/test_kills.py", "an executor killed before and after each step"),
            ("tests/soak", "moves beside other faults, and executors killed at random"),
            ("southbound/bench/handover.py", "the pause, measured (docs/performance.md)"),
        ),
        (
            _KAFKA,
            (
                "The pause is that of a move whose executor lives: one that dies between the decision "
                "and the marker stretches it until another carries on."
            ),
        ),
    ),
    Promise(
        6,
        "A node receives what it needs and little else; a change to one thing sends one thing.",
        (
            (
                "tests/live/test_agent.py",
                "a neighbour's records are never applied; VPCs come and go",
            ),
            ("tests/bench", "what is read and sent is measured (docs/performance.md)"),
        ),
        ("A slot holds some ten hosts: their records arrive too, and are dropped by their keys.",),
    ),
)

NOT_COVERED = (
    (
        "The first try of agents that have lost their connections: the client library makes it at once, "
        "and offers no way to hold it back. Later ones are spread out. Where the brokers are there to "
        "take them, their limits must (`deploy/kafka`)."
    ),
    (
        "A crowd that reaches its cluster through TLS, or on machines of their own: all of it runs on one "
        "machine, whose processors spread it out too."
    ),
    (
        "A crowd of more than a thousand agents for each processor: 5,000 on two of them were all started, "
        "and then their 25,000 threads took all the time there was."
    ),
    (
        "A publisher that sleeps for a month between delivering and looking: what fences remember is "
        "pruned by then."
    ),
    (
        "An hour's compaction lag: in a soak it is two minutes, and the janitor as much faster. Hosts move "
        "there, VPCs do not, and nothing is deleted."
    ),
    (
        "A loss of power: processes are killed and disks are cut, but no write that the kernel has taken "
        "is lost."
    ),
    "A broker whose clock is wrong, and a janitor's and Redis' that are both ahead by more than a day.",
    "Two copies of one host's state folder in use on two machines at once.",
    "A broker that lies: acknowledges and loses without having crashed, or returns damaged batches.",
    (
        "Data topics that somebody has set to `cleanup.policy=delete`: `southbound doctor` finds them, and "
        "nodes keep what such a log is silent about; what it dropped unread comes only when it is "
        "published again."
    ),
    "Faults in more than one availability zone at once, but for a Redis that is away beside a broker.",
    (
        "Agents of public kinds (workers) at failpoints: their group is tested in "
        "`tests/live/test_worker.py` by kills at any time only."
    ),
)
