"""`hookline rejections`: what the gateway turned away, and why."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from hookline.cli.client import Gateway
from hookline.cli.output import Json, clock, print_json, print_table
from hookline.cli.system import find_system


def rejections(
    *,
    limit: Annotated[int, Parameter(help="Maximum number to list.")] = 20,
    json: Json = False,
) -> None:
    """List rejected requests, with the reason.

    Newest first: when, at which endpoint, from where. The gateway keeps the newest 10,000.

    Example: hookline rejections --limit 50
    """
    with Gateway(find_system()) as gateway:
        found = list(gateway.pages("/rejections", "rejections", {}, limit))
    if json:
        print_json({"rejections": found})
    else:
        print_table(("AT", "DOOR", "FROM", "STATUS", "REASON", "DETAIL"), [_row(each) for each in found])


def _row(rejection: dict[str, Any]) -> tuple[str | Text, ...]:
    return (
        clock(rejection["at"]),
        rejection["door"],
        rejection["remote"],
        Text(str(rejection["status"]), style="red"),
        rejection["reason"],
        rejection["detail"],
    )
