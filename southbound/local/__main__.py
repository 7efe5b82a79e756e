"""Find or fetch what a local fleet is started from: `python -m southbound.local`.

The rule: progress and faults go to standard error, one line each; nothing is started.
"""

from __future__ import annotations

import os
import sys

from southbound.errors import SouthboundError
from southbound.local.fleet import find_programs


def main() -> int:
    """Return the exit status: 0 when everything is at hand."""
    try:
        find_programs(os.environ, lambda line: print(line, file=sys.stderr, flush=True))
    except SouthboundError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
