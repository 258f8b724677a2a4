"""How the server says no: problem details of RFC 9457 (https://www.rfc-editor.org/rfc/rfc9457), always of one shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from saccade.data.cells import printable
from saccade.errors import PictureError, ResourceError, SaccadeError

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 1
_LOG = logging.getLogger("saccade.serve")
# Besides those of the decoder, which stand in data/refusals.py.
SERVER_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "host_not_allowed": "the server was called by a name that is not its own",
        "origin_not_allowed": "a web page of elsewhere asked",
        "token_needed": "the token is missing or wrong",
        "body_too_large": "the request has more bytes than are allowed",
        "read_timeout": "the body came too slowly",
        "content_type": "neither a form nor a picture",
        "content_encoding": "the body is compressed",
        "malformed_form": "the form cannot be read",
        "too_many_parts": "the form has more files or fields than are allowed",
        "unknown_field": "the form has a field that is not known",
        "not_a_file": "the field holds text in place of a file",
        "no_picture": "the form holds no picture",
        "too_many_pictures": "one picture is explained at a time",
        "invalid_parameter": "a parameter is out of range",
        "bad_request": "a parameter names nothing that is known",
        "not_found": "there is nothing at this address",
        "method_not_allowed": "the address is there, but not for this method",
        "queue_full": "too many pictures are on their way",
        "not_ready": "the model is being loaded",
        "stopping": "the server is being stopped",
        "deadline": "no answer was ready in time",
        "out_of_memory": "the memory did not suffice for this picture",
        "unavailable": "the process with the network was lost on the way",
        "disconnected": "the sender went away",
        "bug": "saccade has a bug",
    }
)


class Problem(BaseModel):
    """An error. All fields are always there."""

    type: str = Field(description="`/docs#` and the reason: where it is explained.")
    title: str = Field(description="The meaning of the status.")
    status: int
    detail: str = Field(description="What went wrong, in one sentence.")
    reason: str = Field(description="A stable code: `truncated`, `queue_full`, `body_too_large`, ...")
    remedy: str | None = Field(description="What the sender can do.")
    field: str | None = Field(description="The part of the request at fault.")
    predictions: list[dict[str, Any]] = Field(description="Where several pictures were sent: what became of each.")
    model: str = Field(description="The hash of the weights that are served.")


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A request that is not answered as asked.

    Args:
        status: of HTTP.
        reason: a stable code.
        detail: one sentence.
        remedy: what the sender can do.
        field: the part of the request at fault.
    """

    def __init__(
        self, status: int, reason: str, detail: str, *, remedy: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.remedy, self.field = status, reason, detail, remedy, field
        self.predictions: Sequence[Mapping[str, Any]] = ()
        self.headers: dict[str, str] = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else {}

    def response(self, model: str) -> JSONResponse:
        """As it is sent."""
        problem = Problem(
            type=f"/docs#{self.reason}",
            title=_title(self.status),
            status=self.status,
            detail=printable(self.detail),
            reason=self.reason,
            remedy=self.remedy,
            field=None if self.field is None else printable(self.field),
            predictions=[dict(each) for each in self.predictions],
            model=model,
        )
        return JSONResponse(problem.model_dump(), self.status, self.headers, MEDIA_TYPE)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase if any(status == known for known in HTTPStatus) else "Client Closed Request"


def busy(reason: str, detail: str) -> Refusal:
    """503: the same request will do a little later."""
    return Refusal(503, reason, detail, remedy="send the same request again after the seconds in Retry-After")


def refusal_of(error: Exception) -> Refusal:
    """The answer to whatever was raised while a request was worked on."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, PictureError):
        return Refusal(error.http_status, error.reason, error.what, remedy=error.remedy, field=error.where)
    if isinstance(error, SaccadeError) and error.http_status < 500:
        return Refusal(error.http_status, "bad_request", error.what, remedy=error.remedy, field=error.where)
    if isinstance(error, ResourceError):
        return busy("unavailable", error.what)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Refusal(422, "invalid_parameter", f"{field}: {first['msg']}", field=field)
    if isinstance(error, HTTPException):
        reason = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        refusal = Refusal(error.status_code, reason, str(error.detail), remedy="/docs lists what there is")
        refusal.headers |= dict(error.headers or {})
        return refusal
    _LOG.error("saccade has a bug", exc_info=error)
    return Refusal(500, "bug", "saccade has a bug; the log of the server shows where", remedy="please report it")


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """What FastAPI calls for every error."""
    return refusal_of(error).response(request.app.state.service.model_hash)
