"""The page for people, its files, the report of the run and the documentation of the API: all from this machine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from saccade.data.refusals import REASONS
from saccade.use.serve_gate import COOKIE, is_token, sent_token
from saccade.use.serve_problems import SERVER_REASONS, Refusal
from saccade.use.serve_service import Service

_OWN = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'self'; "
_PAGE_POLICY = _OWN + "img-src 'self' blob:; script-src 'self'; connect-src 'self'"
_DOCS_POLICY = _OWN + "img-src 'self'"
# The report brings its own styles and pictures; in a sandbox it is a stranger to everything else here.
_REPORT_POLICY = (
    "sandbox allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "page.css": "text/css",
        "tokens.css": "text/css",
        "docs.css": "text/css",
        "page.js": "text/javascript",
        "parts.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }
)
_COOKIE_SECONDS = 12 * 3600


class Page:
    """What browsers ask for.

    Args:
        service: whose model and report are shown.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._folder = files("saccade.use") / "page"
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("saccade.use", "page"), autoescape=True, undefined=jinja2.StrictUndefined
        )

    def add_routes(self, app: FastAPI) -> None:
        """The routes, which the documentation of the API leaves out."""
        for path, endpoint in (("/", self.index), ("/page/{name}", self.file), ("/report", self.report)):
            app.add_api_route(path, endpoint, include_in_schema=False)
        app.add_api_route("/docs", self.docs, include_in_schema=False)
        app.add_api_route("/session", self.session, methods=["POST"], include_in_schema=False)

    async def index(self) -> HTMLResponse:
        """The page."""
        text = self._templates.get_template("index.html").render(needs_token=bool(self._service.options.token))
        policy = {"Content-Security-Policy": _PAGE_POLICY, "Permissions-Policy": "camera=(self), microphone=()"}
        return HTMLResponse(text, headers=policy)

    async def file(self, name: str) -> Response:
        """One of its files: there is a list, and no path is made of what was asked for."""
        if name not in _KINDS:
            raise HTTPException(404, "there is no such file")
        return Response((self._folder / name).read_bytes(), media_type=_KINDS[name])

    async def report(self) -> Response:
        """The report of the run."""
        path = self._service.facts.report_path
        if not path or not Path(path).is_file():
            raise HTTPException(404, "there is no report beside this model")
        policy = {"Content-Security-Policy": _REPORT_POLICY}
        return FileResponse(path, media_type="text/html", headers=policy)

    async def docs(self, request: Request) -> HTMLResponse:
        """The API in words."""
        schema: dict[str, Any] = request.app.openapi()
        reasons = {**SERVER_REASONS, **REASONS}
        limits = self._service.options.limits
        text = self._templates.get_template("docs.html").render(
            schema=schema, reasons=reasons, limits=limits, token=bool(self._service.options.token)
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": _DOCS_POLICY})

    async def session(self, request: Request) -> Response:
        """Give the page a cookie for the token, so that links work; scripts cannot read it, other sites not use it."""
        token = self._service.options.token
        if token and not is_token(sent_token(request), token):
            raise Refusal(401, "token_needed", "this is not the token of this server")
        answer = Response(status_code=204)
        if token:
            answer.set_cookie(COOKIE, token, max_age=_COOKIE_SECONDS, httponly=True, samesite="strict")
        return answer
