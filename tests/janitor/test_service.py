from __future__ import annotations

import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.janitor.service import Janitor
from southbound.settings import DirectorySettings, JanitorSettings

NOWHERE = DirectorySettings(redis_url="redis://127.0.0.1:1/0", redis_timeout_s=0.2)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (JanitorSettings(sweep_every_s=3_600.0), "sweep_every_s"),
        (JanitorSettings(moves_retention_s=86_400.0), "moves_retention_s"),
        (JanitorSettings(delete_retention_s=0.0), "delete_retention_s"),
        (JanitorSettings(records_per_second=-1.0), "records_per_second"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: JanitorSettings, place: str) -> None:
    """Each names what is wrong with it."""
    with pytest.raises(ConfigError, match=place):
        Janitor(settings, NOWHERE)


def test_without_redis_one_sweep_fails_and_says_so() -> None:
    """The service would wait for it; it is not ready then."""
    janitor = Janitor(JanitorSettings(), NOWHERE)
    with pytest.raises(EdgeError):
        janitor.run_once()
    status = janitor.status()
    assert (status.live, status.ready) == (False, False)
    assert status.reasons == ("no sweep has gone through everything yet",)
