"""Every error that Hookline raises on purpose: one root, and each message says what to do next."""

from __future__ import annotations

from hookline.faults import Fault


class HooklineError(Exception):
    """The root of all errors that Hookline raises on purpose."""


class FileError(HooklineError):
    """A file that the user wrote cannot be used.

    Parameters
    ----------
    faults: all that is wrong, each with its place; a text where there is no place to name.
    """

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(fault for fault in faults if isinstance(fault, Fault))


class SettingsError(FileError):
    """A setting is missing or has a value that cannot be used; the message names its key."""


class SourcesError(FileError):
    """`sources.yaml` cannot be used; the message names the place, the source and the key of each fault."""


class TriggerError(HooklineError):
    """A trigger of `prefect.yaml` cannot be kept although it has Hookline's keys; says why."""


class EvaluationError(HooklineError):
    """An expression or a template of a trigger cannot be evaluated for an event; says what was missing."""


class RenderError(EvaluationError):
    """A trigger's parameters cannot be rendered for an event, now or later: its dispatch is dead."""


class DeployError(FileError):
    """`hookline deploy` refused or failed; nothing was written to the inbox."""


class InboxError(HooklineError):
    """The inbox cannot be opened, migrated, read or written."""


class AnchorUnusable(InboxError):
    """What was given as an anchor of an audit is none, or is another inbox's."""


class InboxFull(InboxError):
    """The inbox cannot take more just now (queue or disk full); the sender should retry later."""


class InboxRefused(InboxError):
    """The inbox's database refuses what was to be written: the same write will never succeed."""


class PrefectUnavailable(HooklineError):
    """Prefect is away or overloaded: the same call may succeed later.

    Parameters
    ----------
    reason: what happened, in one line.
    retry_after: seconds the server asked to wait, if it did.
    status: the server's HTTP status, or None where there was no answer.
    """

    def __init__(self, reason: str, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.status = status


class PrefectRefused(HooklineError):
    """Prefect says that the request is wrong: the same call will never succeed.

    Parameters
    ----------
    reason: what is wrong, in one line.
    status: Prefect's HTTP status.
    response: the body of Prefect's answer, shortened.
    """

    def __init__(self, reason: str, status: int, response: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.response = response


class SendError(HooklineError):
    """`hookline.send` gave up; the event may or may not have been accepted, and can be sent again."""


class SendRefused(SendError):
    """The gateway does not take the event; sending the same again will not help."""


class ClaimError(HooklineError):
    """The data of a claim check cannot be loaded; the message says whether a replay helps."""


class Refusal(HooklineError):
    """A request that the front door turns away, answered as `application/problem+json` (RFC 9457).

    Parameters
    ----------
    status: the HTTP status, 4xx, or 503 where the door itself is not ready.
    reason: a short stable word for metrics and `GET /rejections`, such as `bad-signature`.
    detail: one sentence for the sender; never holds a secret or an expected signature.
    headers: further response headers, such as `Retry-After`.
    pointer: a JSON pointer to the fault in the body, where there is one.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        pointer: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        self.pointer = pointer
