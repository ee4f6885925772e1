"""What the head of a request may say: its target, and the headers that tell where the request ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hookline.errors import Refusal

#: Headers that the connection itself goes by.
OF_CONNECTION = frozenset((b"host", b"expect", b"content-length", b"transfer-encoding"))
#: As many digits as any length has; more are zeros in front, which only serve to confuse.
LENGTH_DIGITS = 20

_VERSIONS = ("1.1", "1.0")
_OF_UPGRADES = (b"upgrade", b"http2-settings")


def size_of(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Return how many bytes a request line and headers took, about."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def split_target(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request's target, which may be a whole address."""
    if not url.startswith(b"/") and b"://" in url:
        authority, slash, rest = url.partition(b"://")[2].partition(b"/")
        _, mark, query = authority.partition(b"?")
        url = b"/" + (rest if slash and not mark else mark + query + slash + rest)
    path, _, query = url.partition(b"#")[0].partition(b"?")
    return path, query


def read_length(value: bytes) -> int:
    """Return a Content-Length, which the parser has found to be digits.

    Raises
    ------
    Refusal: 400, more digits than any length has.
    """
    if len(value) > LENGTH_DIGITS:
        raise bad_http("Its Content-Length has too many digits.")
    return int(value)


def check_coding(codings: int, coding: bytes, version: str) -> None:
    """Check the Transfer-Encoding of a request, of which only chunks are understood here.

    Parameters
    ----------
    codings: how many such headers there are.
    coding: the value of the last.

    Raises
    ------
    Refusal: 400, two readers could disagree about where the body ends.
    """
    if codings > 1 or coding.lower() != b"chunked":
        raise bad_http("Its Transfer-Encoding is not `chunked`, the only one that is taken here.")
    if version == "1.0":
        raise bad_http("HTTP/1.0 has no Transfer-Encoding.")


def check_host(hosts: int, version: str) -> None:
    """Check the version of a request, and how many Host headers it has.

    Raises
    ------
    Refusal: 400.
    """
    if version not in _VERSIONS:
        raise bad_http("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise bad_http("It has no Host header, or several.")


def without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a request's head as if it had not asked for another protocol; HTTP lets a server refuse that."""
    head = b"%b %b HTTP/%b\r\n" % (method, url, version.encode())
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(
                each for each in value.split(b",") if each.strip(b" \t").lower() not in _OF_UPGRADES
            )
            if not value:
                continue
        if name not in _OF_UPGRADES:
            head += b"%b: %b\r\n" % (name, value)
    return head + b"\r\n"


def bad_http(why: str = "") -> Refusal:
    """Return the refusal of what is no well-formed request."""
    return Refusal(400, "bad-http", f"This is not a well-formed HTTP/1.1 request. {why}".rstrip())


def headers_too_large() -> Refusal:
    """Return the refusal of a head that is too large."""
    return Refusal(431, "headers-too-large", "The headers are larger, or more, than what is accepted here.")


def framing_too_large() -> Refusal:
    """Return the refusal of a body in chunks with too much around them."""
    detail = "The lines around the body's chunks (sizes, extensions, trailers) are larger, or more, than what"
    return Refusal(431, "headers-too-large", f"{detail} is accepted here.")
