"""Entrypoints are looked up, and nothing of the user's is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.triggers.entrypoints import Entrypoint, find_entrypoint

SOURCE = """\
raise RuntimeError("importing me is a mistake")

from prefect import flow as a_flow
from elsewhere import imported, renamed as other

NAME = "computed"

@a_flow
def plain(): ...

@a_flow(name="Named", retries=2)
async def named(): ...

@a_flow(name=NAME)
def computed(): ...

if NAME:
    def branch(): ...
else:
    assigned = branch
try:
    attempt: object = 1
except ImportError:
    fallback, pair = 1, 2

class Flows:
    @a_flow
    def method(self): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs_here" / "deep").mkdir(parents=True)
    (tmp_path / "jobs_here" / "orders.py").write_text(SOURCE)
    (tmp_path / "jobs_here" / "deep" / "__init__.py").write_text("from .more import *\n")
    (tmp_path / "jobs_here" / "broken.py").write_text("def f(:\n")
    (tmp_path / "jobs_here" / "lazy.py").write_text("def __getattr__(name): ...\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "flow"),
    [
        ("plain", "plain"), ("named", "Named"), ("computed", None), ("branch", None), ("assigned", None),
        ("attempt", None), ("fallback", None), ("pair", None), ("imported", None), ("other", None),
        ("Flows.method", None),
    ],
)  # fmt: skip
def test_what_a_module_defines_is_found_with_the_flows_name_where_it_says_it(
    folder: Path, name: str, flow: str | None
) -> None:
    """By its path, and by its dotted name."""
    assert find_entrypoint(f"jobs_here/orders.py:{name}", folder) == Entrypoint(flow=flow)
    if "." not in name:
        assert find_entrypoint(f"jobs_here.orders.{name}", folder) == Entrypoint(flow=flow)


@pytest.mark.parametrize(
    "entrypoint",
    ["jobs_here.deep.anything", "jobs_here.lazy.anything", "os.path.join", "sys.exit", "json.dumps"],
)
def test_what_cannot_be_told_is_not_refused(folder: Path, entrypoint: str) -> None:
    """A star, a lazy module, a part of Python's own."""
    assert find_entrypoint(entrypoint, folder).fault is None


@pytest.mark.parametrize(
    ("entrypoint", "fault"),
    [
        ("jobs_here.orders.plian", "jobs_here.orders has no plian; did you mean plain?"),
        ("jobs_here.ordres.plain", "there is no module jobs_here.ordres; did you mean orders?"),
        ("jobs_her.orders.plain", "there is no module jobs_her; did you mean jobs_here?"),
        ("jobs_here/ordres.py:plain", "there is no file jobs_here/ordres.py; did you mean orders.py?"),
        ("jobs_here/orders.py:plian", "jobs_here/orders.py has no plian; did you mean plain?"),
        ("nowhere/orders.py:plain", "there is no file nowhere/orders.py"),
        ("jobs_here.broken.f", "jobs_here.broken is no Python: line 1"),
        ("plain", "write it as `flows.module.function`"),
        ("..orders.plain", "write it as `flows.module.function`"),
        ("a b.c", "write it as `flows.module.function`"),
    ],
)
def test_what_leads_nowhere_is_told_with_what_was_meant(folder: Path, entrypoint: str, fault: str) -> None:
    """The module, the file or the function."""
    found = find_entrypoint(entrypoint, folder)
    assert found.fault is not None
    assert found.fault.startswith(fault)
