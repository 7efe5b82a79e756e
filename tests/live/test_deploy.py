import os
import subprocess
from pathlib import Path

from southbound.local.fleet import find_programs
from southbound.local.record import new_kafka_id

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kafka"


def settings() -> dict[str, str]:
    """Lines of the production example."""
    lines = (DEPLOY / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_kafka_accepts_the_production_settings(tmp_path: Path) -> None:
    """The example formats a node of the pinned version, with only its data folder replaced."""
    config = tmp_path / "server.properties"
    lines = {**settings(), "log.dirs": str(tmp_path / "data")}
    config.write_text("\n".join(f"{key}={value}" for key, value in lines.items()))
    kafka = find_programs(os.environ).kafka
    controllers = ",".join(f"{n}@kafka-{n}.example:9093:{new_kafka_id()}" for n in (1, 2, 3))
    tool = ["kafka.tools.StorageTool", "format", "-t", new_kafka_id(), "-c", str(config)]
    done = subprocess.run(
        [kafka.java.program, "-cp", kafka.class_path, *tool, "--initial-controllers", controllers],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "data" / "meta.properties").is_file()


def test_an_acknowledged_record_is_on_two_nodes() -> None:
    """The lines on which the promise of no lost change rests."""
    lines = settings()
    assert (lines["default.replication.factor"], lines["min.insync.replicas"]) == ("3", "2")
    assert lines["unclean.leader.election.enable"] == "false"
    assert lines["auto.create.topics.enable"] == "false"


def test_every_setting_beyond_addresses_has_its_reason() -> None:
    """What the example sets about durability, size and cleaning is in the table."""
    text = (DEPLOY / "README.md").read_text()
    groups = ("log.cleaner.", "log.segment.", "log.index.", "num.", "message.", "socket.")
    told = [key for key in settings() if key.startswith(groups)]
    assert len(told) > 8
    assert [key for key in told if key not in text] == []
