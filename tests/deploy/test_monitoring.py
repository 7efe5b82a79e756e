"""The dashboard and the alert rules: of metrics that exist, and firing when they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import CollectorRegistry

from southbound.janitor.metrics import JanitorCollector
from southbound.janitor.tally import Stand, Tally
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.appliers.timed import TimedApplier
from southbound.nca.counters import Counters, Gauges
from southbound.nca.metrics import AgentCollector, ApplierCollector, WorkerCollector
from southbound.nca.worker_core import WorkerCounters, WorkerGauges
from southbound.producer.metrics import PublisherCollector, PublisherCounters
from southbound.tracker.counters import TrackerCounters
from southbound.tracker.metrics import TrackerCollector

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_RULES = _DEPLOY / "prometheus" / "alerts.yml"
_DASHBOARD = _DEPLOY / "grafana" / "southbound.json"
_OPERATIONS = _DEPLOY.parent / "docs" / "operations.md"
_NAME = re.compile(r"\bsouthbound_[a-z_]+\b")
_WORDS = {
    "sum", "max", "by", "le", "or", "and", "rate", "increase", "histogram_quantile",
    "job", "instance", "reason", "outcome", "code", "kind", "absent",
}  # fmt: skip
_TOKEN = re.compile(r"[a-zA-Z_]+|\$__rate_interval|\[\d+[mh]\]|\d+(?:\.\d+)?|[()\[\],<>]|\s+")
_ENDINGS = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def _registered() -> set[str]:
    """Return every name that a scrape of our processes may hold."""
    registry = CollectorRegistry()
    PublisherCollector(PublisherCounters(), lambda: 0).register(registry)
    registry.register(AgentCollector(Counters(), Gauges))
    registry.register(WorkerCollector(WorkerCounters(), WorkerGauges))
    registry.register(ApplierCollector(TimedApplier(MemoryApplier())))
    registry.register(TrackerCollector(TrackerCounters()))
    registry.register(JanitorCollector(Tally(), Stand()))
    return {
        metric.name + ending for metric in registry.collect() for ending in _ENDINGS[metric.type]
    }


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(_RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return [one for one in json.loads(_DASHBOARD.read_text())["panels"] if one["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_every_metric_that_is_named_exists(where: str, expression: str) -> None:
    """A rule on a metric that nobody exports never fires, and nobody notices."""
    named = set(_NAME.findall(expression))
    assert named, where
    assert named <= _registered(), where


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_every_expression_is_of_known_words_and_balanced(where: str, expression: str) -> None:
    """What can be said of PromQL without its own parser: words, brackets, rates of counters alone."""
    rest = _TOKEN.sub("", expression)
    assert rest in {"", "."}, (where, rest)
    words = {word for word in re.findall(r"[a-zA-Z_$]+", expression) if len(word) > 1}
    words -= {"$__rate_interval"}
    assert {word for word in words if not word.startswith("southbound_")} <= _WORDS, where
    for opening, closing in ("()", "[]"):
        assert expression.count(opening) == expression.count(closing), where
    for metric in re.findall(r"(southbound_[a-z_]+)\[", expression):
        assert metric.endswith(("_total", "_bucket")), where
    for metric in re.findall(r"(southbound_[a-z_]+_(?:total|bucket))\b(?!\[)", expression):
        pytest.fail(f"{where}: {metric} is a counter, and is looked at without a rate")


def test_every_rule_says_what_to_do() -> None:
    """A severity, what is wrong, and what to do; names stand once, and in the documents."""
    rules = _rules()
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
    text = _OPERATIONS.read_text()
    assert "deploy/prometheus/alerts.yml" in text
    assert "deploy/grafana/southbound.json" in text


def test_the_dashboard_can_be_laid_out() -> None:
    """Ids stand once, nothing overlaps or leaves the grid, every panel says what it shows."""
    dashboard = json.loads(_DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in own) < 24
        assert cells.isdisjoint(own), panel["title"]
        cells |= own
    assert all(panel["description"].endswith(".") for panel in _panels())
    assert dashboard["templating"]["list"][0]["name"] == "datasource"


class Case(NamedTuple):
    """When an alert must fire: series that rise (per minute) or stand, or of which there are none.

    And the labels that it then has.
    """

    rising: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("job", "instance")
    lacking: tuple[str, ...] = ()


_PUBLISHER, _AGENT, _WORKER, _TRACKER, _JANITOR = (
    f"southbound_{part}_" for part in ("publisher", "agent", "worker", "tracker", "janitor")
)
CASES = {
    "SouthboundPublishUnknown": Case((f"{_PUBLISHER}unknown_total",), labels=("job",)),
    "SouthboundPublishFailed": Case((f"{_PUBLISHER}failed_total",), labels=("job",)),
    "SouthboundAcceptSlow": Case((f"{_PUBLISHER}accept_seconds_bucket",), labels=()),
    "SouthboundAgentCutOff": Case(standing=(f"{_AGENT}position_age_seconds",)),
    "SouthboundAgentBehind": Case(standing=(f"{_AGENT}streams_behind",)),
    "SouthboundApplySlow": Case((f"{_AGENT}apply_lag_seconds_bucket",), labels=()),
    "SouthboundApplierRefuses": Case(standing=(f"{_WORKER}failed",)),
    "SouthboundResourcesParked": Case(standing=(f"{_AGENT}parked",)),
    "SouthboundQuarantined": Case((f"{_TRACKER}quarantined_total",), labels=("job",)),
    "SouthboundRevisionsConflict": Case((f"{_AGENT}revisions_conflicting_total",), labels=("job",)),
    "SouthboundReportsDropped": Case((f"{_AGENT}reports_dropped_total",)),
    "SouthboundDiskRefuses": Case((f"{_TRACKER}write_failures_total",)),
    "SouthboundResyncs": Case((f"{_AGENT}resyncs_total",), labels=("job", "reason")),
    "SouthboundSnapshotRefused": Case((f"{_AGENT}snapshots_refused_total",)),
    "SouthboundWorkerUnreleased": Case(standing=(f"{_WORKER}unreleased",)),
    "SouthboundWorkerReplaying": Case(standing=(f"{_WORKER}partitions_replaying",)),
    "SouthboundTrackerClusterAway": Case(standing=(f"{_TRACKER}clusters_away",)),
    "SouthboundTrackerBehind": Case((f"{_TRACKER}lag_seconds_bucket",), labels=("instance",)),
    "SouthboundTrackerGaps": Case((f"{_TRACKER}gaps_total",)),
    "SouthboundTrackerGivesUp": Case((f"{_TRACKER}given_up_total",)),
    "SouthboundConvergenceSlow": Case((f"{_TRACKER}convergence_seconds_bucket",), labels=()),
    "SouthboundHostsSilent": Case((f"{_TRACKER}hosts_forgotten_total",)),
    "SouthboundJanitorLate": Case(standing=(f"{_JANITOR}sweep_age_seconds",)),
    "SouthboundJanitorLost": Case((f"{_JANITOR}lost_total",)),
    "SouthboundChangesetsAbandoned": Case(
        (f"{_JANITOR}changesets_abandoned_total",), labels=("job",)
    ),
    "SouthboundKeysUnreadable": Case(standing=(f"{_JANITOR}keys_unreadable",)),
    "SouthboundJanitorAbsent": Case(lacking=(f"{_JANITOR}sweep_age_seconds",), labels=()),
    "SouthboundJanitorFails": Case((f"{_JANITOR}failures_total",)),
}
_LABELS = {"job": "site", "instance": "one", "reason": "gap"}


def test_every_rule_has_a_case() -> None:
    """And no case is of a rule that is gone."""
    assert set(CASES) == {rule["alert"] for rule in _rules()}


def test_every_rule_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """By Prometheus' own tool: bad series raise each alert alone; good ones raise none."""
    tool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on PATH, nor named by PROMTOOL: the rules were not run")
    tests = [_unit(rule, CASES[rule["alert"]]) for rule in _rules()]
    tests += [_quiet(CASES[rule["alert"]], rule["alert"]) for rule in _rules()]
    file = tmp_path / "tests.yml"
    document = {"rule_files": [str(_RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [tool, "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _unit(rule: dict[str, Any], case: Case) -> dict[str, Any]:
    labels = {name: _LABELS[name] for name in case.labels}
    expected = {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": rule["annotations"]}
    return {
        "interval": "1m",
        "input_series": [
            *(one for name in case.rising for one in _series(name, "0+60x90")),
            *(one for name in case.standing for one in _series(name, "3600x90")),
        ],
        "alert_rule_test": [
            {"eval_time": "60m", "alertname": rule["alert"], "exp_alerts": [expected]}
        ],
    }


def _quiet(case: Case, alert: str) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [
            one
            for name in (*case.rising, *case.standing, *case.lacking)
            for one in _series(name, "0x90")
        ],
        "alert_rule_test": [{"eval_time": "60m", "alertname": alert, "exp_alerts": []}],
    }


def _series(name: str, values: str) -> Iterator[dict[str, str]]:
    """Yield the input of one metric; a histogram's observations all lie above its last bounds."""
    labels = "".join(f',{label}="{value}"' for label, value in _LABELS.items() if label != "reason")
    if name.endswith("resyncs_total"):
        labels += ',reason="gap"'
    if not name.endswith("_bucket"):
        yield {"series": f"{name}{{{labels[1:]}}}", "values": values}
        return
    for bound in ("0.1", "1", "30", "300", "+Inf"):
        low = bound in {"0.1", "1", "30"}
        yield {
            "series": f'{name}{{{labels[1:]},le="{bound}"}}',
            "values": "0x90" if low else values,
        }
