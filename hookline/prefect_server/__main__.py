"""Starts Prefect's server: `python -m hookline.prefect_server server start` is `prefect server start`."""

from __future__ import annotations

import runpy
import sys

from hookline.prefect_server.garbage import collect_beside
from hookline.prefect_server.inserts import compile_once
from hookline.prefect_server.joins import join_what_belongs
from hookline.prefect_server.messages import read_once
from hookline.prefect_server.requests import pass_by
from hookline.prefect_server.schemas import remember_checked_schemas
from hookline.prefect_server.settings import look_up_once
from hookline.prefect_server.statements import visit_once
from hookline.prefect_server.streams import send_as_it_is
from hookline.prefect_server.transactions import take_turns

if __name__ == "__main__":
    take_turns()
    visit_once()
    compile_once()
    join_what_belongs()
    read_once()
    pass_by()
    send_as_it_is()
    remember_checked_schemas()
    look_up_once()
    collect_beside()
    # What stands behind this module's name on the command line is Prefect's own.
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
