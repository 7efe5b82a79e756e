"""What all models of specs share.

The rule: a model checks the fields it knows and keeps every other as it is; a spec is published as
it was given, never as a model would write it. A field may be null wherever the OpenStack Networking
API may answer null.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A spec's known fields; unknown ones are kept beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)
