"""The shell blocks of the documentation, run as a reader runs them: pasted, in order, into one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.up import REPOSITORY, Up

_BLOCK = re.compile(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
#: Says of each of curl's answers what its status was; all else is what a reader's shell does.
_PRELUDE = """\
curl() {
  local body; body=$(command curl -sS --max-time 60 -w '\\n%{http_code}' "$@") || return
  printf '%s\\n' "${body%$'\\n'*}"; echo "STATUS ${body##*$'\\n'}"
}
"""


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Parameters
    ----------
    page: the page's path in the repository.
    text: what a reader pastes.
    """

    page: str
    text: str

    @property
    def statuses(self) -> list[str]:
        """What the page says that the answers' statuses are, `# 202 ...`; without, each is a 2xx."""
        return re.findall(r"^# (\d{3})\b", self.text, re.MULTILINE)


def blocks(page: str) -> list[Block]:
    """Return the shell blocks of a page."""
    return [Block(page, text) for text in _BLOCK.findall((REPOSITORY / page).read_text())]


def pages() -> list[str]:
    """Return all pages that have shell blocks, but for benches, which run for hours."""
    every = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    names = [str(path.relative_to(REPOSITORY)) for path in every]
    return [name for name in names if name != "docs/benchmarks.md" and blocks(name)]


def paste(up: Up, pasted: list[Block], folder: Path) -> str:
    """Paste blocks into a fresh shell in the project's folder, with `hookline` on its PATH and nothing else.

    Returns what the shell said.

    Parameters
    ----------
    folder: where the shell's output is kept.

    Raises
    ------
    AssertionError: a command failed, or an answer had another status than the page says.
    """
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(up.home), "LANG": os.environ.get("LANG", "C.UTF-8"),
    }  # fmt: skip
    script = _PRELUDE + "\n".join(
        f"echo 'BLOCK {number}'\nset -e\n{block.text}\nset +e" for number, block in enumerate(pasted)
    )
    output = folder / "pasted.log"
    with output.open("w") as log:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", script], cwd=up.project, env=env,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=240, check=False,
        )  # fmt: skip
    said = output.read_text()
    parts = re.split(r"^BLOCK \d+\n", said, flags=re.MULTILINE)[1:]
    assert done.returncode == 0, f"{pasted[len(parts) - 1].text}\nfailed ({done.returncode}):\n{parts[-1]}"
    assert "Traceback" not in said, said
    for block, part in zip(pasted, parts, strict=True):
        answered = re.findall(r"^STATUS (\d+)$", part, re.MULTILINE)
        expected = block.statuses or [status for status in answered if status.startswith("2")]
        assert answered == expected, f"{block.text}\n{part}"
    return said
