"""The revision rule: the highest revision wins, whatever the order of arrival. Pure.

The rule: revisions never go backwards on a node. An equal revision changes nothing; if its content
differs, two writers used one number, which is counted and the first kept.
"""

from __future__ import annotations

import enum

from southbound.nca.state import Entry, Status


class Verdict(enum.IntEnum):
    """What an arriving revision is beside the one that is held."""

    NEWER = 0
    EQUAL = 1
    CONFLICTING = 2
    OLDER = 3


def judge(held: Entry | None, arriving: Entry) -> Verdict:
    """Compare by revision. What is being removed by absence counts as not there any more."""
    if held is None or held.status is Status.LEAVING or arriving.revision > held.revision:
        return Verdict.NEWER
    if arriving.revision < held.revision:
        return Verdict.OLDER
    same = arriving.op is held.op and arriving.spec == held.spec
    return Verdict.EQUAL if same else Verdict.CONFLICTING
