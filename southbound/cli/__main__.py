"""The command as a module: `python -m southbound.cli`."""

from __future__ import annotations

from southbound.cli.main import app

if __name__ == "__main__":
    app(prog_name="southbound")
