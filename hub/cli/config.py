"""``hub config …``"""

from __future__ import annotations

from typing import Any

import typer

from hub.cli.base import Json, print_json, print_table, state

app = typer.Typer(name="config", help="The settings in effect.", no_args_is_help=True)


@app.command()
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Every setting, its value (secrets masked) and where it came from."""
    from hub.cli._masked import rows
    from hub.registry import channels

    settings = state(ctx).settings()
    found = rows(settings, channels(settings, state(ctx).adapters()))
    if as_json:
        print_json([{"key": key, "value": value, "source": source} for key, value, source in found])
    else:
        print_table(("setting", "value", "source"), [(key, _text(value), source) for key, value, source in found])


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
