"""From the body of a request to pictures: a form with one or many, or the bytes of one."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from saccade.data.cells import printable
from saccade.use.serve_problems import Refusal
from saccade.use.squares import Encoded

FIELD = "pictures"
_FORM = "multipart/form-data"
_MOST_FIELDS, _MOST_FIELD_BYTES = 8, 64 * 1024
_LONGEST_NAME = 200


class _InMemory(MultiPartParser):
    """Bodies are limited as a whole, so nothing is ever written to a disk."""

    spool_max_size = sys.maxsize


async def read_uploads(request: Request, most_pictures: int) -> list[Encoded]:
    """The pictures of a request.

    Raises:
        Refusal: the content type or the form is not one of those that are documented.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return await _read_form(request, most_pictures)
    if kind.startswith("image/") or kind == "application/octet-stream":
        data = b"".join([chunk async for chunk in _stream(request)])
        if not data:
            raise Refusal(422, "empty_file", "the body has no bytes", remedy="send the bytes of a picture")
        return [Encoded("picture", data)]
    raise Refusal(
        415,
        "content_type",
        f"the content type {kind or '(none)'!r} is not one that is read",
        remedy=f"send {_FORM} with a field `{FIELD}`, or a picture's bytes as image/jpeg or application/octet-stream",
        field="Content-Type",
    )


def shown_name(name: str | None) -> str:
    """What a sender calls a file, without folders and signs that move cursors: to be shown, never to be opened."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    seen = "".join(sign if sign.isprintable() else "?" for sign in printable(last))
    return seen[:_LONGEST_NAME] or "picture"


async def _read_form(request: Request, most_pictures: int) -> list[Encoded]:
    limits = {"max_files": most_pictures, "max_fields": _MOST_FIELDS}
    try:
        parser = _InMemory(request.headers, _stream(request), **limits, max_part_size=_MOST_FIELD_BYTES)
        form = await parser.parse()
    except MultiPartException as error:
        many = error.message.startswith("Too many")
        reason = "too_many_parts" if many else "malformed_form"
        remedy = f"send at most {most_pictures} files, each as a field `{FIELD}` with a file name"
        raise Refusal(413 if many else 400, reason, error.message, remedy=remedy) from None
    try:
        return _uploads(form)
    finally:
        await form.close()


def _uploads(form: FormData) -> list[Encoded]:
    uploads = []
    for field, value in form.multi_items():
        if field != FIELD:
            detail = f"the form has a field {printable(field)[:_LONGEST_NAME]!r}, which is not known"
            raise Refusal(422, "unknown_field", detail, remedy=f"name it `{FIELD}`", field=field[:_LONGEST_NAME])
        if not isinstance(value, UploadFile):
            detail = f"the field `{FIELD}` holds text, not a file"
            raise Refusal(422, "not_a_file", detail, remedy="send it with a file name", field=FIELD)
        uploads.append(Encoded(shown_name(value.filename), value.file.read()))
    if not uploads:
        raise Refusal(422, "no_picture", "the form holds no picture", remedy=f"add a field `{FIELD}`", field=FIELD)
    return uploads


async def _stream(request: Request) -> AsyncGenerator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "the sender went away") from None
