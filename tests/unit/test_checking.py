"""`hookline check`: every error of a project at once, with its place, offline."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import orjson
import pytest

from hookline.checking import check_folder
from hookline.cli.check import check
from hookline.errors import SettingsError
from hookline.settings import load_settings, read_settings
from tests.support.up import REPOSITORY

FLOWS = """\
from prefect import flow

raise RuntimeError("importing me is a mistake")

@flow
def record(event=None): ...
"""

PROJECT = """\
name: shop
pul: []
x-notes: anything
definitions:
  nightly: &nightly {cron: "0 3 * *", timezone: Europe/Berln}
deployments:
  - name: on-order
    entrypoint: jobs.orders.recrd
    work_pol: {name: warm}
    concurrency_limit: {limt: 3}
    version: 1.0
    triggers:
      - {type: event, name: loop, expct: [job.fails]}
      - {type: evnt, name: kind, expect: [a]}
      - name: several
        expect: [order placed, "order.\\tpaid", ""]
        where: data.total >
        concurrency: {key: "1 +", limit: 1}
        parameters: {a: "{{ event.x | nope }}"}
      - {name: everything, expect: []}
      - type: compound
        name: inner
        require: all
        triggers: [{expect: [a], whn: 1}, {expect: ["prefect.*"]}]
      - {name: same, expect: [a]}
      - {name: same, expect: [a]}
  - name: on-order
    entrypoint: jobs/odrers.py:record
    schedules:
      - *nightly
      - {interval: 0}
      - {rrule: FREQ=SOMETIMES, crn: x}
  - name: a/b
    entrypoint: nowhere.at.all
    triggers: [{name: t, expect: [a], parameters: {x: "{{ $NOT_SET }}"}}]
  - entrypoint: jobs.orders.record
"""

SOURCES = """\
sources:
  github:
    recipe: githb
  shop:
    recipe: {algorithm: token, signature: {header: X}}
    secrets: [${SHOP_SECRET}]
    schemas: {shop.sold: {type: nonsense}}
    rate: 1/fortnight
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prefect.yaml").write_text(PROJECT)
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "sources.yaml").write_text(SOURCES)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "orders.py").write_text(FLOWS)
    (tmp_path / ".env").write_text("# settings\n\nHOOKLINE_PROT=4281\nHOOKLINE_RETENTION_DAYS=0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXPECTED = [
    "prefect.yaml:2:1: `pul` is no key of a project; did you mean `pull`?",
    "prefect.yaml:8:17: deployment on-order: entrypoint jobs.orders.recrd: jobs.orders has no recrd; did you",
    "prefect.yaml:9:5: deployment on-order: `work_pol` is no key of a deployment; did you mean `work_pool`?",
    "prefect.yaml:10:24: deployment on-order: collision_strategy: it is required",
    "prefect.yaml:10:25: deployment on-order: `limt` is no key of `concurrency_limit`; did",
    "prefect.yaml:11:14: deployment on-order: version: Input should be a valid string",
    "prefect.yaml:13:35: deployment on-order, trigger loop: `expct` is no key of a trigger; did you mean",
    "prefect.yaml:14:16: deployment on-order, trigger kind: there is no trigger of type `evnt`; did you",
    "prefect.yaml:16:18: deployment on-order, trigger several: expect: 'order placed' holds ' '",
    "prefect.yaml:16:32: deployment on-order, trigger several: expect: 'order.\\tpaid' holds '\\t'",
    "prefect.yaml:16:48: deployment on-order, trigger several: expect: an empty name",
    "prefect.yaml:17:16: deployment on-order, trigger several: where: 'data.total >' is not CEL",
    "prefect.yaml:18:28: deployment on-order, trigger several: concurrency.key: '1 +' is not CEL",
    "prefect.yaml:20:9: deployment on-order, trigger everything: it expects no event by name, so",
    "prefect.yaml:24:34: deployment on-order, trigger inner: `whn` is no key of a trigger",
    "prefect.yaml:26:9: deployment on-order, trigger same: another trigger of the deployment has",
    "prefect.yaml:27:5: another deployment is named 'on-order', in line 7",
    "prefect.yaml:28:17: deployment on-order: entrypoint jobs/odrers.py:record: there is no file jobs/odr",
    "prefect.yaml:5:28: deployment on-order: '0 3 * *' is no cron expression",
    "prefect.yaml:5:49: deployment on-order: there is no time zone 'Europe/Berln'",
    "prefect.yaml:31:20: deployment on-order: interval: an interval is longer than 0",
    "prefect.yaml:32:17: deployment on-order: no rrule",
    "prefect.yaml:32:33: deployment on-order: `crn` is no key of a schedule; did you mean `cron`?",
    "prefect.yaml:33:11: deployment a/b: Prefect allows no `/` in a deployment's name",
    "prefect.yaml:34:17: deployment a/b: entrypoint nowhere.at.all: there is no module nowhere",
    "prefect.yaml:35:55: deployment a/b, trigger t: the environment variable NOT_SET is not set",
    "prefect.yaml:36:5: deployment number 4 has no `name`: it is skipped",
    "deployments/sources.yaml:3:13: source `github`, key `recipe`: there is no recipe `githb`; did you mean",
    "deployments/sources.yaml:8:11: source `shop`, key `rate`: is no rate",
    ".env:3:1: HOOKLINE_PROT is no setting; did you mean HOOKLINE_PORT?",
    ".env:4:1: HOOKLINE_RETENTION_DAYS: Input should be greater than 0",
]


def test_all_errors_are_told_at_once_each_with_its_place(project: Path) -> None:
    """Of the project file, the sources and the settings."""
    told = [str(fault) for fault in check_folder(project / "prefect.yaml", {})]
    missing = [line for line in EXPECTED if not any(each.startswith(line) for each in told)]
    further = [each for each in told if not any(each.startswith(line) for line in EXPECTED)]
    assert (missing, further) == ([], [])


RARE = """\
pull:
  - prefect.deployments.steps.set_working_directory: {%(directory)s: .}
definitions:
  steps: &steps
    - prefect.deployments.steps.%(run_shell_script)s: {id: commit, script: git rev-parse HEAD}
  limit: &limit {limit: 2, collision_strategy: ENQUEUE}
deployments:
  - name: rare
    entrypoint: jobs.orders.record
    version: "{{ commit.stdout }}"
    version_type: %(version_type)s
    build: *steps
    push: {prefect_docker.deployments.steps.push_docker_image: {requires: prefect-docker, image_name: a}}
    pull:
      - {prefect.deployments.steps.git_clone: {%(repository)s: "https://example.com/a.git", branch: main}}
      - {prefect.deployments.steps.pip_install_requirements: %(inputs)s}
      - prefect.deployments.steps.pull.git_clone: {repository: "https://example.com/a.git"}
    concurrency_limit: {<<: *limit, collision_strategy: %(CANCEL_NEW)s, grace_period_seconds: 90}
    schedules: [{interval: %(interval)s, slug: hourly, replaces: daily, anchor_date: "2026-01-01"}]
    work_pool: {name: warm, job_variables: {env: {A: "{{ $HOME }}"}}}
    triggers:
      - type: metric
        name: slow
        metric: {name: duration, operator: ">", threshold: 60, %(range)s: 600}
      - {type: compound, name: both, require: %(require)s, triggers: [{expect: [a]}, {expect: [b]}]}
    %(sla)s
"""
VALID = {
    "directory": "directory", "run_shell_script": "run_shell_script", "version_type": "vcs:git",
    "repository": "repository", "inputs": "{directory: .}", "CANCEL_NEW": "CANCEL_NEW", "interval": "PT1H",
    "range": "range", "require": "2", "sla": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("part", "written", "told"),
    [
        ("directory", "directry", "2:55: `directry` is no input of `set_working_directory`; did you mean"),
        (
            "run_shell_script",
            "run_shel_script",
            "5:7: deployment rare: Prefect has no step `run_shel_script`",
        ),
        ("version_type", "vcs:gti", "11:19: deployment rare: version_type: Input should be 'prefect:simple'"),
        ("repository", "repo", "15:48: deployment rare: `repo` is no input of `git_clone`; there are repos"),
        ("repository", "branch_", "15:10: deployment rare: `git_clone` needs `repository`"),
        ("inputs", "null", "16:10: deployment rare: write the inputs of `prefect.deployments.steps.pip_inst"),
        ("CANCEL_NEW", "CANCEL", "18:57: deployment rare: collision_strategy: Input should be 'ENQUEUE' or"),
        ("interval", "PT0S", "19:28: deployment rare: interval: an interval is longer than 0"),
        ("interval", '"{{ $EVERY }}"', "19:28: deployment rare: interval: Input should be a valid timedelta"),
        ("range", "rnge", "24:64: deployment rare, trigger slow: `rnge` is no key of `metric`; did you mean"),
        ("require", "3", "25:9: deployment rare, trigger both: `require` is from 1 to the number of its tri"),
        ("sla", "sla: [{name: a, severty: high, duration: 60}]", "26:21: deployment rare: `severty` is no k"),
        ("sla", "sla: [{name: a, duration: 60, within: 1}]", "26:11: deployment rare: a service level has e"),
        ("sla", "sla: []", "26:5: deployment rare: only Prefect Cloud knows `sla`"),
    ],
)
def test_rarely_used_parts_are_checked_as_well(project: Path, part: str, written: str, told: str) -> None:
    """Prefect takes such slips in silence and fails when it deploys, or with every run."""
    (project / "prefect.yaml").write_text(RARE % VALID)
    found = [str(fault) for fault in check_folder(project / "prefect.yaml", {})]
    assert not [each for each in found if each.startswith("prefect.yaml")]
    (project / "prefect.yaml").write_text(RARE % {**VALID, part: written})
    found = [str(fault) for fault in check_folder(project / "prefect.yaml", {})]
    assert [each for each in found if each.startswith(f"prefect.yaml:{told}")]


def test_what_is_not_set_here_is_a_warning(project: Path) -> None:
    """Another environment deploys, and runs the gateway."""
    (project / "deployments" / "sources.yaml").write_text(
        "sources: {a: {recipe: github, secrets: [${S}], url: 'https://${HOST}/', schemas: {a.b: true}}}"
    )
    warnings = [fault for fault in check_folder(project / "prefect.yaml", {}) if fault.warning]
    told = "\n".join(fault.message for fault in warnings)
    assert re.findall(r"(\w+) is not set", told) == ["NOT_SET", "S", "HOST"]


@pytest.mark.parametrize("name", ["prefect.yaml", "deployments/sources.yaml"])
def test_a_file_that_is_no_yaml_hides_nothing_of_the_others(project: Path, name: str) -> None:
    """One line for it, and the rest as before."""
    before = {fault.file for fault in check_folder(project / "prefect.yaml", {})}
    (project / name).write_text("a: [\n")
    faults = check_folder(project / "prefect.yaml", {})
    assert [fault.message.split(":")[0] for fault in faults if fault.file == name] == ["no YAML"]
    assert {fault.file for fault in faults} == before


def test_a_key_that_is_there_twice_loses_no_trigger_in_silence(project: Path) -> None:
    """YAML's own readers take the last one and say nothing."""
    (project / "prefect.yaml").write_text("deployments:\n  - name: a\n    triggers: []\n    triggers: []\n")
    told = [str(fault) for fault in check_folder(project / "prefect.yaml", {})]
    assert told[0].startswith("prefect.yaml:4:5: the key `triggers` is there twice, first in line 3")


def test_a_newer_prefects_key_can_be_named(project: Path) -> None:
    """At the top of the file, where stock Prefect ignores it."""
    entry = (
        "{name: a, entrypoint: jobs.orders.record, brand_new: 1, triggers: [{name: t, expect: [a], nw: 1}]}"
    )
    (project / "prefect.yaml").write_text(f"deployments: [{entry}]\n")
    told = [fault.message for fault in check_folder(project / "prefect.yaml", {})]
    assert [message.split("`")[1] for message in told[:2]] == ["brand_new", "nw"]
    (project / "prefect.yaml").write_text(f"deployments: [{entry}]\nx-known-keys: [brand_new, nw]\n")
    assert "prefect.yaml" not in {fault.file for fault in check_folder(project / "prefect.yaml", {})}


def test_it_exits_by_what_it_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 when all is well, 1 with errors, 2 with nothing to check."""
    assert check() == 1
    assert re.search(r"\n29 errors, 2 warnings\n$", capsys.readouterr().out)
    assert check(project / "nowhere") == 2
    (project / ".env").unlink()
    (project / "deployments" / "sources.yaml").unlink()
    (project / "prefect.yaml").write_text("deployments: [{name: a, entrypoint: jobs.orders.record}]\n")
    capsys.readouterr()
    assert check(project) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings\n"


def test_programs_get_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same faults, in parts."""
    assert check(json=True) == 1
    document = orjson.loads(capsys.readouterr().out)
    assert document["ok"] is False
    loop = next(fault for fault in document["faults"] if "`expct`" in fault["message"])
    assert (loop["file"], loop["line"], loop["column"], loop["level"]) == ("prefect.yaml", 13, 35, "error")


def test_github_gets_annotations(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with what would end it escaped."""
    (project / "prefect.yaml").write_text(
        'deployments: [{name: a, triggers: [{name: t, expect: ["50%\\n"]}]}]\n'
    )
    assert check(format="github") == 1
    lines = capsys.readouterr().out.splitlines()
    assert (
        "::error file=prefect.yaml,line=1,col=55::deployment a, trigger t: expect: '50%25\\n' holds"
        in "\n".join(lines)
    )
    assert all(re.match(r"::(error|warning) file=[^:]+::", line) for line in lines)


@pytest.mark.parametrize("format", ["text", "github"])
def test_nothing_of_a_file_is_a_command_to_a_ci_or_a_terminal(
    format: Literal["text", "github"], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pull request chooses the keys and values that are quoted."""
    (project / "prefect.yaml").write_text(
        'deployments: [{name: a, "b\\n::stop-commands::x\\e[2J": 1, entrypoint: "a\\r\\n::error::c"}]\n'
    )
    assert check(format=format) == 1
    told = capsys.readouterr().out
    assert "\\n::stop-commands::x\\x1b[2J" in told
    assert not [line for line in told.splitlines() if line.startswith(("::stop", "::error::"))]
    assert not set(told) & {"\r", "\x1b"}


def test_it_runs_no_code_of_the_project_and_imports_no_prefect(project: Path) -> None:
    """So it needs no second."""
    program = (
        "import sys; from hookline.cli.check import check; code = check()\n"
        "assert 'prefect' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_this_projects_own_files_are_without_errors() -> None:
    """What `hookline init` lays down, too."""
    for folder in (REPOSITORY, REPOSITORY / "hookline" / "cli" / "new_project"):
        assert not [fault for fault in check_folder(folder / "prefect.yaml", {}) if not fault.warning]


def test_sources_that_are_not_where_the_setting_says_are_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where nothing is set may the file be missing."""
    (project / ".env").unlink()
    (project / "deployments" / "sources.yaml").unlink()
    assert "HOOKLINE_SOURCES" not in str(check_folder(project / "prefect.yaml", {}))
    monkeypatch.setenv("HOOKLINE_SOURCES", "deployments/source.yaml")
    assert "HOOKLINE_SOURCES: there is no file" in str(check_folder(project / "prefect.yaml", {}))


# Settings ---------------------------------------------------------------------------------------------


def test_a_mistyped_setting_in_the_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is wrong with it, with the lines."""
    (tmp_path / ".env").write_text(
        "A=1\n\nexport HOOKLINE_PROT=1\nHOOKLINE_PORT=many\nHOOKLINE_HOST=a\nHOOKLINE_HOST=b\nno line\n"
    )
    with pytest.raises(SettingsError) as refused:
        load_settings(tmp_path)
    assert [
        (fault.place and fault.place.line, fault.message.split(";")[0]) for fault in refused.value.faults
    ] == [
        (3, "HOOKLINE_PROT is no setting"),
        (4, "HOOKLINE_PORT: Input should be a valid integer, unable to parse string as an integer"),
        (6, "HOOKLINE_HOST is there twice, first in line 5"),
        (7, "is no line of the form NAME=value"),
    ]


def test_a_mistyped_setting_in_the_environment_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the standard error, once: it may be somebody else's, as what Kubernetes sets certainly is."""
    monkeypatch.setenv("HOOKLINE_PREFECT_PROT", "1")
    monkeypatch.setenv("HOOKLINE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("HOOKLINE_PORT_4280_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("HOOKLINE_MINE", "1")
    monkeypatch.setenv("HOOKLINE_TOO", "1")
    (tmp_path / "prefect.yaml").write_text('x: "{{ $HOOKLINE_MINE }}"')
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "sources.yaml").write_text("secrets: [${HOOKLINE_TOO}]")
    load_settings(tmp_path)
    load_settings(tmp_path)
    said = capsys.readouterr().err
    assert said.count("HOOKLINE_PREFECT_PROT is no setting; did you mean HOOKLINE_PREFECT_PORT?") == 1
    assert said.count("\n") == 1


def test_a_value_in_the_environment_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which wins over the file's."""
    (tmp_path / ".env").write_text("HOOKLINE_PORT=4281\n")
    monkeypatch.setenv("HOOKLINE_PORT", "many")
    settings, faults = read_settings(tmp_path)
    assert settings is None
    assert [(fault.file, fault.message.split(":")[0]) for fault in faults] == [
        ("environment", "HOOKLINE_PORT")
    ]
