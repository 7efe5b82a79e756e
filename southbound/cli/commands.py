"""How commands are parsed and how they end.

The rule: a user's mistake, or a part that is away, is one message on standard error and the exit
code of its error (southbound/errors.py), never a traceback; Ctrl-C is 130. What every command
understands (`--output`, `--redis`, `--tracker`, `--local-dir`) may stand before the noun or after the verb.
"""

from __future__ import annotations

import errno
import math
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from southbound.cli.session import Session
from southbound.errors import EdgeError, SouthboundError

INTERRUPTED = 130
_OF_FILES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EBADF}
)


class Root(TyperGroup):
    """The command itself: turns errors into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run what was asked for."""
        try:
            return super().invoke(ctx)
        except SouthboundError as error:
            typer.echo(f"southbound: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            # A path that cannot be used, or a disk that fails; it names the file itself.
            typer.echo(f"southbound: {_where(error)}{error}", err=True)
            raise typer.Exit(EdgeError.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("southbound: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


def _where(error: OSError) -> str:
    """Say what could not be written where an error does not: what was printed."""
    nameless = error.filename is None and error.errno in _OF_FILES
    return "writing to standard output: " if nameless else ""


class Verb(TyperCommand):
    """One command: understands the options of the whole command line too."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its own parameters, then those of the command line."""
        own = super().get_params(ctx)
        known = {param.name for param in own}
        root = ctx.find_root().command.params
        shared = [one for one in root if one.name in Session.FIELDS and one.name not in known]
        return [*own[:-1], *shared, *own[-1:]]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the shared options into the session."""
        rest: list[str] = super().parse_args(ctx, args)
        for param in self.params:
            _check_number(ctx, param, ctx.params.get(param.name or ""))
        root = ctx.find_root()
        for name in Session.FIELDS:
            value = ctx.params.pop(name, None)
            source = ctx.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE" and root.obj is not None:
                root.obj = root.obj.with_option(name, value)
        return rest


def _check_number(ctx: Any, param: Any, value: object) -> None:
    """Refuse nan and inf: they are seconds and sizes, of which there are neither."""
    if isinstance(value, float) and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of anything.", ctx=ctx, param=param)


def noun(help: str) -> typer.Typer:  # noqa: A002  # typer's word
    """Make the app of one noun."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)


def session_of(ctx: typer.Context) -> Session:
    """Return what the command line as a whole was told."""
    session = ctx.find_root().obj
    assert isinstance(session, Session)
    return session
