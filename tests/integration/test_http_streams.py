"""Streams of bytes, well-formed and not, in any pieces: our server reads what h11 reads, or less.

h11 is a parser by other people, in another language than ours, written from the RFC. Where the two differ
we are stricter, and each such case is listed here with its reason; so are the few in which h11 is.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.streams import (
    Listener,
    Request,
    Verdict,
    by_h11,
    listening_to_streams,
    pieces_of,
)

#: What we refuse and h11 takes: a pattern of the stream, and why.
STRICTER = [
    (rb"(?<!\r)\n", "a line ends in CR LF; some proxies take a bare LF for an end, and some do not"),
    (rb"\r(?!\n)", "as a bare CR may be an end to some"),
    (rb"\r\n[ \t]", "folded headers are obsolete, and unfolded in more than one way (RFC 9112, 5.2)"),
    (rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", "control characters are in no header and no target"),
    (rb"HTTP/(?!1\.[01]\r)", "we speak HTTP/1.1 and HTTP/1.0"),
    (rb"(?i)content-length: *[0-9]+ *,", "a list of lengths, even of equal ones"),
    (rb"(?is)\ncontent-length:.*\ncontent-length:", "two lengths, even equal ones"),
    (rb"(?i)content-length: *[0-9]{20}", "a length over 64 bits"),
    (rb"(?is)\r\n0.*\ncontent-length:", "a length after the body that had one"),
    (rb"(?is)\ntransfer-encoding:.*content-length:", "a length beside chunks (RFC 9112, 6.3)"),
    (rb"(?is)\ncontent-length:.*transfer-encoding:", "the same the other way round"),
    (rb"(?is)HTTP/1\.0\r.*\ntransfer-encoding:", "chunks in HTTP/1.0 (RFC 9112, 6.1)"),
    (rb"(?i)\ntransfer-encoding: *(\t|chunked\t)", "tabs around the coding"),
    (rb"\r\n[0-9a-fA-F]+[ \t]", "blanks after a chunk's size"),
    (rb"\r\n[0-9a-fA-F]+;", "a chunk's extension that is empty, or has blanks or odd characters in it"),
    (rb"[0-9a-fA-F]{16}", "a chunk's size over 64 bits"),
    (rb"(?<![!-~])(?!(GET|POST|PUT|HEAD|OPTIONS|CONNECT) )[!-~]+ [!-~]+ HTTP/", "a method that nobody has"),
    (rb" (?![/*]|https?://)[!-~]+ HTTP", "a target that is neither a path nor a whole address"),
    (rb"(?i)proxy-connection:", "an old proxy's `Proxy-Connection: close` ends the connection"),
]
#: What we take and h11 refuses, or reads no further than.
LAXER = [
    (rb"\A\r?\n|\r\n\r\n\r?\n", "empty lines before a request are skipped (RFC 9112, 2.2)"),
    (rb"[^\r\n]\r?\n(\r?\n)*[A-Z]+ +[!-~]+ +HTTP/", "the same after a body"),
    (rb"(?s)HTTP/1\.0\r.*keep-alive", "a client of HTTP/1.0 may ask to keep its connection"),
    (rb"\r\n0[0-9a-fA-F]{20}", "zeros before a chunk's size"),
    (rb"CONNECT ", "what follows a CONNECT is not read: it is refused, and the connection ends"),
    (
        rb"(?s).\n.*([A-Z]+ +[!-~]+  +HTTP/|[A-Z]+  +[!-~]+ +HTTP/|RTSP/)",
        "the parser's leniency in a request line that came in one piece with the one before",
    ),
]


def one_of(*values: bytes, often: bytes | None = None, times: int = 0) -> st.SearchStrategy[bytes]:
    return st.sampled_from([*[often] * times, *values] if often is not None else values)


#: Streams that are tried; `benches/fuzz.py` tries more.
EXAMPLES = int(os.environ.get("HOOKLINE_STREAM_EXAMPLES", "150"))

methods = one_of(b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW", b"get")
targets = one_of(
    b"/", b"/events", b"/a?b=c", b"/%2e%00", b"*", b"http://a/b?c", b"http://a", b"http://a?b", b"https://u@a:1/",
    b"/a#b", b"//a/b", b"a:80", b"foo", b"", b"/\xe9", b"/a b", b"/\x00", b"/" + b"x" * 300,
)  # fmt: skip
versions = one_of(
    b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"RTSP/1.0",
    often=b"HTTP/1.1", times=14,
)  # fmt: skip
blanks = one_of(b"  ", b"\t", b"", often=b" ", times=14)
ends = one_of(b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", often=b"\r\n", times=40)
colons = one_of(b":", b" : ", b":\t", b":  ", often=b": ", times=12)
names = one_of(b"X", b"x-Y", b"Content_Length", b"Transfer_Encoding", b"", b"X ", b"X\x00", b"\xe9", b" X")
values = one_of(
    b"", b"a", b" a ", b"\t a b \t", b"a\x00b", b"a\x01", b"\xe9", b"a\x7f", b"a:b", b"a,b", b"\x0ba"
)
lengths = one_of(
    b"0", b"03", b"+3", b"-3", b"3, 3", b"3,4", b"0x3", b" 3 ", b"\t3\t", b"3 4", b"", b"3.0", b"\x0b3",
    b"\xb3", b"3_0", b"18446744073709551616", b"99999999999999999999999", b"0" * 30 + b"3",
    often=b"3", times=8,
)  # fmt: skip
codings = one_of(
    b"CHUNKED", b"xchunked", b"chunkedx", b"identity", b"chunked, identity", b"identity, chunked",
    b"gzip, chunked", b"chunked, chunked", b"\tchunked", b"chunked\t", b"\x0bchunked", b'"chunked"',
    b"chunked;q=1", b",chunked", b"", often=b"chunked", times=12,
)  # fmt: skip
framing = st.one_of(
    st.just([]),
    st.tuples(st.just(b"Content-Length"), lengths).map(lambda pair: [pair]),
    st.tuples(st.just(b"Transfer-Encoding"), codings).map(lambda pair: [pair]),
    st.lists(
        st.tuples(st.just(b"content-length"), lengths) | st.tuples(st.just(b"transfer-encoding"), codings),
        max_size=3,
    ),
)
of_connection = st.sampled_from(
    [
        (b"Connection", b"close"), (b"Connection", b"keep-alive"), (b"Connection", b"close, upgrade"),
        (b"Connection", b"Upgrade"), (b"Upgrade", b"h2c"), (b"Expect", b"100-continue"), (b"Host", b"b"),
        (b"Proxy-Connection", b"x"), (b"Trailer", b"X"), (b"TE", b"trailers"),
    ]
)  # fmt: skip
sizes = one_of(
    b"03", b"0x3", b"+3", b"-3", b" 3", b"3 ", b"3\t", b"", b"ffffffffffffffff1", b"10000000000000003",
    b"0" * 25 + b"3", often=b"3", times=12,
)  # fmt: skip
extensions = one_of(
    b";x", b";x=y", b';x="y;z"', b" ;x", b"; x", b";", b";x= y", b";=y", b";x\x00", b";x\ry", b";x\ny",
    often=b"", times=12,
)  # fmt: skip
trailers = st.lists(st.tuples(names, values) | st.just((b"Content-Length", b"5")), max_size=2)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request that is well-formed, or nearly."""
    lines = [draw(methods) + draw(blanks) + draw(targets) + draw(blanks) + draw(versions)]
    if draw(st.integers(0, 9)):
        lines.append(b"Host" + draw(colons) + draw(one_of(b"a", b"a:80", b"", b"a b")))
    pairs = draw(framing) + draw(st.lists(of_connection | st.tuples(names, values), max_size=2))
    lines += [name + draw(colons) + value for name, value in pairs]
    head = b"".join(line + draw(ends) for line in lines) + draw(ends)
    if b"hunked" in head:
        return head + draw(chunked())
    return head + draw(one_of(b"", b"abc", b"ab", b"abcd"))


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """Return a body in chunks that is well-formed, or nearly."""
    body = b""
    for _ in range(draw(st.integers(0, 2))):
        body += draw(sizes) + draw(extensions) + draw(ends) + b"abc" + draw(ends)
    body += b"0" + draw(extensions) + draw(ends)
    for name, value in draw(trailers):
        body += name + draw(colons) + value + draw(ends)
    return body + draw(ends)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return requests one after the other, of which a byte may be another than it was."""
    stream = draw(one_of(b"\r\n", b"\n", often=b"", times=10))
    stream += b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    if stream and not draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(stream) - 1))
        stream = (
            stream[:place] + bytes([draw(st.integers(0, 255))]) + stream[place + draw(st.integers(0, 1)) :]
        )
    return stream


def post(lines: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"


@pytest.fixture(scope="module")
async def listener() -> AsyncIterator[Listener]:
    """Give our server, with an application that takes down what it is told."""
    async with listening_to_streams() as listening:
        yield listening


@settings(max_examples=EXAMPLES, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(1, 400), max_size=4) | st.just(range(2_000)))
@example(post(b"Connection: close, upgrade\r\nUpgrade: x\r\n") * 2, ())
@example(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ())
@example(b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", range(40))
async def test_a_stream_is_read_as_h11_reads_it_or_refused(
    listener: Listener, stream: bytes, cuts: tuple[int, ...]
) -> None:
    """The same requests, and the same end, whatever the pieces; differences are those that are listed."""
    ours = normal(await listener.verdict(*pieces_of(stream, cuts)))
    theirs = normal(by_h11(stream))
    if ours.refused and not theirs.refused:
        # What cannot come to a good end is refused at once by us, and by h11 at the end of its lines.
        ended = normal(by_h11(stream + b"\r\n\r\n"))
        theirs = ended if ended.requests == theirs.requests else theirs
    if ours == theirs:
        return
    if ours.refused and theirs.requests[: len(ours.requests)] == ours.requests:
        assert listed(STRICTER, stream), f"we refuse this, h11 does not: {ours.why}"
    else:
        assert ours.requests[: len(theirs.requests)] == theirs.requests, "a request is read otherwise"
        assert listed(LAXER, stream), f"h11 refuses this, we do not: {theirs.why}"


def listed(cases: list[tuple[bytes, str]], stream: bytes) -> bool:
    return any(re.search(pattern, stream) for pattern, _ in cases)


def normal(verdict: Verdict) -> Verdict:
    """Return a verdict in one form: our scope has the path of a target only, and no upgrade is left in it."""
    return replace(verdict, requests=[_normal(each) for each in verdict.requests])


def _normal(request: Request) -> Request:
    headers = [
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in request.headers
        if name not in (b"connection", b"upgrade")
    ]
    target = request.target.partition(b"#")[0]
    if b"://" in target:
        parts = urlsplit(target)
        target = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    # What follows a CONNECT is no body to us, who refuse it and close.
    body = b"" if request.method == b"CONNECT" else request.body
    return replace(request, target=target, headers=tuple(headers), body=body)
