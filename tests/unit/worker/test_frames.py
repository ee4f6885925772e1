"""Frames arrive whole and in order, in whatever pieces the socket delivers them."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from hookline.worker.frames import FrameBuffer, FrameSocket, pack

frames = st.lists(
    st.fixed_dictionaries({"type": st.text(max_size=8), "data": st.text(max_size=300)}), max_size=8
)


@given(frames, st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_any_pieces_make_the_same_frames(sent: list[dict[str, str]], sizes: list[int]) -> None:
    stream = b"".join(pack(frame) for frame in sent)
    buffer = FrameBuffer()
    received = []
    while stream:
        for size in sizes:
            received += buffer.feed(stream[:size])
            stream = stream[size:]
    assert received == sent


def test_a_descriptor_comes_with_its_frame_and_the_end_is_seen() -> None:
    ours, theirs = socket.socketpair()
    extra, other = socket.socketpair()
    with extra, other:
        socket.send_fds(ours, [pack({"type": "fork"})], [extra.fileno()])
        receiver = FrameSocket(theirs)
        assert receiver.receive() == {"type": "fork"}
        with socket.socket(fileno=receiver.fds.pop()) as passed:
            passed.sendall(b"x")
        assert other.recv(1) == b"x"
        ours.close()
        assert receiver.receive() is None
        receiver.close()
