"""The values that an event's attributes may have, checked as CloudEvents 1.0 defines them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: Attributes are indexed; a database's index has no room for more.
MAX_BYTES = 1024

_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_UNPAIRED_OR_CONTROL = "\x00-\x1f\x7f-\x9f\ud800-\udfff"
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17)
)
_FORBIDDEN = re.compile(f"[{_UNPAIRED_OR_CONTROL}{_NONCHARACTERS}]")

#: Marks and letters that show as nothing, or as a blank, although Unicode counts them as printable.
_HIDDEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
_UNSEEN = re.compile(f"[ {_HIDDEN}]")

# RFC 3986, appendix A.
_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_HOST = (
    r"(?:\[(?:[0-9A-Fa-f:.]+|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
    r"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)"
)
_AUTHORITY = rf"//(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{{2}})*@)?{_HOST}(?::[0-9]*)?"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_ROOTED = rf"(?:{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
_URI = re.compile(rf"{_SCHEME}(?:{_ROOTED}|{_PCHAR}+(?:/{_PCHAR}*)*)?{_TAIL}")
# Without a scheme, a colon in the first segment would make that segment look like one.
_FIRST_SEGMENT = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})+"
_RELATIVE = re.compile(rf"(?:{_ROOTED}|{_FIRST_SEGMENT}(?:/{_PCHAR}*)*)?{_TAIL}")

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z\-]+"  # noqa: S105 # a pattern of RFC 2045
# Nothing that was taken is given back: a blank between two empty parameters could belong to either of them.
_MEDIA_TYPE = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:[ \t]*+;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\]|\\.)*+"))?+)*+[ \t]*'
)


def check_name(name: str) -> None:
    """Check an attribute's name.

    Raises
    ------
    ValueError: other than small letters and digits, or `data`.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError("names of attributes have small letters and digits only")
    if name == "data":
        raise ValueError("no attribute may be named `data`")


def check_text(value: str) -> None:
    """Check the characters of a string.

    Raises
    ------
    ValueError: control characters, noncharacters or surrogates without their pair; or too long.
    """
    if value.isascii():
        if not value.isprintable():
            raise ValueError("has control characters")
        size = len(value)
    else:
        if _FORBIDDEN.search(value):
            raise ValueError("has control characters, noncharacters or unpaired surrogates")
        size = len(value.encode())
    if size > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} bytes")


def check_present(value: str) -> None:
    """Check a string that may not be empty.

    Raises
    ------
    ValueError: empty, or not good as a string.
    """
    if not value:
        raise ValueError("is empty")
    check_text(value)


def check_type(value: str) -> None:
    """Check an event's type: a name that people compare, so all of it has to be seen.

    Raises
    ------
    ValueError: empty, not good as a string, or with blanks or characters that are not seen.
    """
    check_present(value)
    if not value.isprintable() or _UNSEEN.search(value):
        raise ValueError("has blanks, or characters that are not seen; write it as order.paid")


def tidy_type(value: str) -> str:
    """Return a type of somebody who cannot be told that it is none: what `check_type` refuses becomes `_`."""
    seen = "".join(each if each.isprintable() else " " for each in value)
    return _UNSEEN.sub("_", seen)


def check_uri_reference(value: str) -> None:
    """Check a URI-reference (RFC 3986, 4.1) that may not be empty.

    Raises
    ------
    ValueError: it is none.
    """
    check_present(value)
    if _URI.fullmatch(value) is None and _RELATIVE.fullmatch(value) is None:
        raise ValueError("is no URI-reference (RFC 3986)")


def check_uri(value: str) -> None:
    """Check a URI with a scheme (RFC 3986, 4.3).

    Raises
    ------
    ValueError: it is none.
    """
    check_present(value)
    if _URI.fullmatch(value) is None:
        raise ValueError("is no absolute URI (RFC 3986)")


def check_media_type(value: str) -> None:
    """Check a media type with its parameters (RFC 2046).

    Raises
    ------
    ValueError: it is none.
    """
    check_present(value)
    if _MEDIA_TYPE.fullmatch(value) is None:
        raise ValueError("is no media type (RFC 2046), such as application/json")


def read_timestamp(value: str) -> datetime:
    """Return an RFC 3339 time, in UTC; a fraction is cut to microseconds.

    Raises
    ------
    ValueError: it is none, has no offset, or does not fall into the years 1 to 9999.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("is no RFC 3339 time with an offset; write it as 2026-11-24T03:00:00Z")
    date, minute, second, fraction, offset = match.groups()
    # A leap second has no place in a datetime; it is the first moment of the next minute.
    leap = timedelta(seconds=1) if second == "60" else timedelta()
    second = "59" if leap else second
    try:
        moment = datetime.fromisoformat(
            f"{date}T{minute}:{second}.{(fraction or '0')[:6].ljust(6, '0')}{offset.upper()}"
        )
        return (moment + leap).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no time of the calendar") from None
