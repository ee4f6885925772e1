"""Frames between the worker, its zygote and its children: length-prefixed JSON over Unix sockets."""

from __future__ import annotations

import socket
import struct
from typing import Any

import orjson

Frame = dict[str, Any]

_LENGTH = struct.Struct("!I")
_CHUNK_BYTES = 65536
#: As many file descriptors as one read may carry.
_MAX_FDS = 16


def pack(frame: Frame) -> bytes:
    """Render a frame as bytes; UUIDs and times become text."""
    body = orjson.dumps(frame, option=orjson.OPT_NON_STR_KEYS)
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Turns bytes, in whatever pieces they arrive, into whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Add a chunk and return the frames that it completed."""
        self._bytes += chunk
        frames: list[Frame] = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            frames.append(orjson.loads(self._bytes[_LENGTH.size : end]))
            del self._bytes[:end]
        return frames


class FrameSocket:
    """A blocking socket that speaks frames; the zygote's and the child's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = FrameBuffer()
        self._frames: list[Frame] = []
        self.fds: list[int] = []

    def send(self, frame: Frame) -> None:
        """Send one frame; blocks when the other side does not read."""
        self.sock.sendall(pack(frame))

    def receive(self) -> Frame | None:
        """Return the next frame, or None once the other side is gone."""
        while not self._frames:
            if not self._read():
                return None
        return self._frames.pop(0)

    def receive_ready(self) -> list[Frame] | None:
        """Read once and return the frames that are complete, or None once the other side is gone."""
        if not self._read():
            return None
        frames, self._frames = self._frames, []
        return frames

    def _read(self) -> bool:
        try:
            chunk, fds, _, _ = socket.recv_fds(self.sock, _CHUNK_BYTES, _MAX_FDS)
        except ConnectionError:
            return False
        self.fds += fds
        self._frames += self._buffer.feed(chunk)
        return bool(chunk)

    def close(self) -> None:
        """Close the socket and every file descriptor that came through it and was not taken."""
        for fd in self.fds:
            socket.close(fd)
        self.sock.close()
