"""Reading an event's data back from the bytes that were received. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

import orjson

from hookline.event import BodyFormat


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
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def envelope_data(envelope: Any) -> Any:
    """Return the data of a JSON envelope: its `data`, or its `data_base64`, decoded where it is JSON or text.

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
        return orjson.loads(raw) if media_type.endswith(("/json", "+json")) else raw.decode()
    except orjson.JSONDecodeError:
        raise ValueError("data_base64 is not the JSON that datacontenttype says") from None
    except UnicodeDecodeError:
        # Not text: flows see the encoded form, as CloudEvents JSON carries it.
        return encoded
