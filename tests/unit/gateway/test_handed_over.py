"""Sockets that a service manager hands over: taken where they reach no further than the settings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from hookline.gateway.listening import LISTEN_FDS_START

TAKE_OVER = """
import os, sys
from hookline.errors import SettingsError
from hookline.gateway.listening import handed_over
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[2]))
try:
    print([each.getsockname() for each in handed_over(sys.argv[1])])
except SettingsError as wrong:
    print(wrong)
"""


def take_over(host: str, *, bound: str = "127.0.0.1", other_pid: bool = False) -> tuple[str, str]:
    """Return what a process says that is handed a socket, and the socket's address."""
    with socket.create_server((bound, 0)) as door:

        def hand_over() -> None:
            os.dup2(door.fileno(), LISTEN_FDS_START, inheritable=True)

        said = subprocess.run(
            [sys.executable, "-c", TAKE_OVER, host, str(int(other_pid))],
            env={**os.environ, "LISTEN_FDS": "1"},
            pass_fds=(LISTEN_FDS_START,),
            preexec_fn=hand_over,
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout.strip(), str(door.getsockname())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_socket_where_the_settings_say_is_taken(host: str) -> None:
    """As sd_listen_fds(3) has it: from descriptor 3 on."""
    said, address = take_over(host)
    assert said == f"[{address}]"


def test_a_socket_that_reaches_further_is_refused() -> None:
    """Whether keys are needed was decided by HOOKLINE_HOST; no socket may go past that."""
    said, _ = take_over("127.0.0.1", bound="127.0.0.2")
    assert "HOOKLINE_HOST is 127.0.0.1: set it to 127.0.0.2" in said


def test_sockets_for_another_process_are_left_alone() -> None:
    """The variables are inherited by children, the sockets are not meant for them."""
    assert take_over("127.0.0.1", other_pid=True)[0] == "[]"
