"""What Prefect's server under `up` does in a lighter way, all of it; for the tested versions alone."""

from __future__ import annotations

from hookline.prefect_server.inserts import compile_once
from hookline.prefect_server.joins import join_what_belongs
from hookline.prefect_server.messages import read_once
from hookline.prefect_server.requests import pass_by
from hookline.prefect_server.schemas import remember_checked_schemas
from hookline.prefect_server.settings import look_up_once
from hookline.prefect_server.statements import visit_once
from hookline.prefect_server.streams import look_briefly, send_as_it_is
from hookline.prefect_server.transactions import take_turns


def make_lighter() -> None:
    """Change Prefect's server, before it is started in this process."""
    take_turns()
    visit_once()
    compile_once()
    join_what_belongs()
    read_once()
    pass_by()
    send_as_it_is()
    look_briefly()
    remember_checked_schemas()
    look_up_once()
