"""What a webhook's body holds, by its content type and, failing that, by its looks. Pure."""

from __future__ import annotations

from typing import Any

from hookline.body import check_form, read_form
from hookline.errors import Refusal
from hookline.event import BodyFormat
from hookline.json_text import load_json
from hookline.knock import Knock


def parse_body(knock: Knock, form_payload: bool = False) -> tuple[BodyFormat, Any]:
    """Return how the data lies in the body, and the data.

    Parameters
    ----------
    knock: the request.
    form_payload: a form's field `payload` holds the data as JSON.

    Raises
    ------
    Refusal: 400, not the JSON that its content type says, or JSON nested too deep.
    """
    body = knock.body
    if not body:
        return BodyFormat.NONE, None
    kind = (knock.headers.raw_value(b"content-type") or b"").split(b";", 1)[0].strip().lower()
    # No signature covers the content type, so the looks come first: as a form, JSON would have no id.
    if kind == b"application/x-www-form-urlencoded" and body[:1] not in (b"{", b"["):
        return _form(body, form_payload)
    declared = kind in _JSON or kind.endswith(b"+json")
    if declared or body[:1] in (b"{", b"["):
        try:
            return BodyFormat.JSON, load_json(body)
        except ValueError:
            if declared:
                raise Refusal(400, "not-json", "The body is not the JSON that Content-Type says.") from None
    return _text(body)


_JSON = (b"application/json", b"text/json")


def _form(body: bytes, form_payload: bool) -> tuple[BodyFormat, Any]:
    check_form(body)
    try:
        fields = read_form(body)
    except ValueError:
        return BodyFormat.BYTES, None
    payload = fields.get("payload") if form_payload else None
    if isinstance(payload, str):
        try:
            return BodyFormat.FORM_PAYLOAD, load_json(payload.encode("utf-8", "replace"))
        except ValueError:
            pass
    return BodyFormat.FORM, fields


def _text(body: bytes) -> tuple[BodyFormat, Any]:
    try:
        return BodyFormat.TEXT, body.decode()
    except UnicodeDecodeError:
        return BodyFormat.BYTES, None
