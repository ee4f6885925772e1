"""Reading an event's data back from the bytes that were received. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from itertools import islice
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from hookline.errors import Refusal
from hookline.event import BodyFormat

#: So many fields may be in a form, and so many percent signs that encode nothing: both take time, one by one.
MAX_FIELDS = 10_000
MAX_LOOSE_PERCENTS = 10_000

_LOOSE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_data(body: bytes, body_format: BodyFormat) -> Any:
    """Return the data that lies in `body`.

    Parameters
    ----------
    body: the received bytes.
    body_format: how the data lies in them.

    Raises
    ------
    ValueError: the bytes are not of that format.
    """
    match body_format:
        case BodyFormat.JSON:
            return orjson.loads(body)
        case BodyFormat.FORM:
            return read_form(body)
        case BodyFormat.FORM_PAYLOAD:
            return orjson.loads(read_form(body)["payload"])
        case BodyFormat.TEXT:
            return body.decode()
        case BodyFormat.ENVELOPE:
            return envelope_data(orjson.loads(body))
        case BodyFormat.BYTES | BodyFormat.NONE:
            return None


def read_form(body: bytes) -> dict[str, Any]:
    """Return a form's fields as an object; a field that comes several times becomes a list."""
    fields: dict[str, Any] = {}
    for name, value in form_pairs(body):
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """Return a form's fields in their order.

    Raises
    ------
    ValueError: not UTF-8.
    """
    body.decode()
    pairs = [each.partition(b"=") for each in body.replace(b"+", b" ").split(b"&") if each]
    return [(_unquoted(name), _unquoted(value)) for name, _, value in pairs]


def check_form(body: bytes) -> None:
    """Check that a form is read in no time.

    Raises
    ------
    Refusal: 413, it has too many fields; 400, too many percent signs that encode nothing.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise Refusal(413, "form-size", f"The form has more than {MAX_FIELDS} fields.")
    if next(islice(_LOOSE_PERCENT.finditer(body), MAX_LOOSE_PERCENTS, None), None) is not None:
        raise Refusal(
            400, "bad-form", "The form has percent signs that encode nothing; they are written %25."
        )


def _unquoted(text: bytes) -> str:
    if b"%" in text:
        if _LOOSE_PERCENT.search(text):
            text = unquote_to_bytes(text)
        else:
            # Quoted-printable is the same with another sign, and is read many times as fast.
            text = binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))
    return text.decode("utf-8", "replace")


def envelope_data(envelope: Any, load: Callable[[bytes], Any] = orjson.loads) -> Any:
    """Return the data of a JSON envelope: its `data`, or its `data_base64`, decoded where it is JSON or text.

    Parameters
    ----------
    envelope: the envelope's JSON.
    load: reads JSON in `data_base64`.

    Raises
    ------
    ValueError: not an object, or `data_base64` is not base64 or not the JSON it should be.
    """
    if not isinstance(envelope, dict):
        raise ValueError("the envelope is not a JSON object")
    if "data_base64" not in envelope:
        return envelope.get("data")
    encoded = envelope["data_base64"]
    if not isinstance(encoded, str):
        raise ValueError("data_base64 is not a string")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as wrong:
        raise ValueError(f"data_base64 is not base64: {wrong}") from None
    declared = envelope.get("datacontenttype")
    media_type = declared.partition(";")[0].strip().lower() if isinstance(declared, str) else ""
    try:
        return load(raw) if media_type.endswith(("/json", "+json")) else raw.decode()
    except orjson.JSONDecodeError:
        raise ValueError("data_base64 is not the JSON that datacontenttype says") from None
    except UnicodeDecodeError:
        # Not text: flows see the encoded form, as CloudEvents JSON carries it.
        return encoded
