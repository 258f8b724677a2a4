"""The REST API and the page, as a FastAPI application around a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from saccade.errors import SaccadeError
from saccade.use.serve_bodies import FIELD, read_uploads
from saccade.use.serve_gate import Gate
from saccade.use.serve_page import Page
from saccade.use.serve_problems import MEDIA_TYPE, Problem, Refusal, answer_error, busy
from saccade.use.serve_service import OUT_OF_MEMORY, Row, Service
from saccade.use.squares import Encoded

ResultT = TypeVar("ResultT")
_PICTURE = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "array", "items": _PICTURE}},
                }
            },
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
        },
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": words}
    for status, words in (
        (400, "The form is malformed, or a parameter names nothing that is known."),
        (401, "The server wants a token."),
        (403, "Called by a foreign name, or by a foreign web page."),
        (408, "The body came too slowly."),
        (413, "Too many bytes or too many pictures."),
        (415, "A content type or encoding that is not read."),
        (422, "No picture could be used; `reason` says why."),
        (503, "Busy, starting or stopping: try again after Retry-After seconds."),
    )
}
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"description": "A prediction per picture."}, **_PROBLEMS}
_NOBODY = 499  # as nginx counts those who went away before the answer


class Guessed(BaseModel):
    """A class and how likely the network finds it."""

    class_name: str
    probability: float = Field(ge=0, le=1)


class Predicted(BaseModel):
    """One picture: guesses and whether they are sure, or a reason why it could not be read."""

    name: str
    guesses: list[Guessed] = Field(description="Best first; empty where the picture could not be read.")
    sure: bool | None = Field(None, description='False: "not sure". Absent where there is a reason.')
    reason: str | None = Field(None, description="Why the picture could not be read: `truncated`, `not_an_image`, ...")
    detail: str | None = Field(None, description="The same in words.")


class PredictAnswer(BaseModel):
    """A prediction per picture, in the order in which they were sent."""

    model: str = Field(description="The hash of the weights that answered.")
    class_names: list[str] = Field(description="All classes, in the order of the network's outputs.")
    predictions: list[Predicted]


class ModelAnswer(BaseModel):
    """What answers."""

    model: str = Field(description="The hash of its weights; also in the header Saccade-Model of every answer.")
    name: str
    architecture: str
    class_names: list[str]
    threshold: float | None = Field(description='Probability below which an answer is "not sure"; null: all are.')
    image_size: int
    device: str
    explains: bool
    explain_methods: list[str]
    report: bool
    limits: dict[str, int]


Top = Annotated[int, Query(ge=1, le=1000, description="How many classes to name.")]
_METHODS = "gradcam or occlusion. Default: the first that the model has, see explain_methods in /v1/model."
Method = Annotated[str, Query(pattern="^(gradcam|occlusion|)$", description=_METHODS)]
About = Annotated[str, Query(alias="class", max_length=500, description="Default: the class that the network names.")]


def build_app(service: Service, page: Page) -> Gate:
    """The application; started by its lifespan, or by whoever opens the service first."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.open()
        yield
        await service.close()

    about = "Names what pictures show. Errors are problem details (RFC 9457) of one shape."
    app = FastAPI(
        title="saccade", version=version("saccade"), description=about, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    api = Api(service)
    app.add_api_route("/v1/predict", api.predict, methods=["POST"], openapi_extra=_BODY, responses=_ANSWERS)
    app.add_api_route(
        "/v1/explain",
        api.explain,
        methods=["POST"],
        openapi_extra=_BODY,
        responses={**_ANSWERS, 200: {"content": {"image/png": {}}, "description": "The heat over the picture."}},
        response_class=Response,
    )
    app.add_api_route("/v1/model", api.model, response_description="As described.")
    for path, endpoint in (("/healthz", api.healthz), ("/readyz", api.readyz), ("/metrics", api.metrics)):
        app.add_api_route(path, endpoint, response_description="As described.")
    page.add_routes(app)
    for error in (Refusal, SaccadeError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(error, answer_error)
    if service.options.allow_origins:
        origins = list(service.options.allow_origins)
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Saccade-Model", "Saccade-Class", "Saccade-Heat", "Retry-After"],
        )
    return Gate(app, service)


class Api:
    """The endpoints. What they say about themselves stands in /docs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def predict(self, request: Request, top: Top = 3) -> PredictAnswer:
        """Name what one or many pictures show.

        Send a form with one or many files in the field `pictures`, or the bytes of one picture. Where several are sent,
        each that cannot be read has its reason; where none can be read, the answer is a problem.
        """
        uploads = await self._uploads(request)
        facts, rows = await while_connected(request, self._service.predict(uploads, top))
        if not any(row.answer for row in rows):
            raise _none_usable(rows)
        answer = {
            "model": facts.model,
            "class_names": facts.class_names,
            "predictions": [row.to_json() for row in rows],
        }
        return JSONResponse(answer, headers={"Saccade-Model": facts.model})  # type: ignore[return-value]

    async def explain(self, request: Request, method: Method = "", class_name: About = "") -> Response:
        """Show where in a picture the network finds a class: the heat over the picture, as PNG.

        The header Saccade-Class says what it is about, and Saccade-Heat how it was found, percent-encoded as UTF-8.
        Occlusion covers one place after the other, about a hundred in all, and looks at each: other answers wait.
        """
        uploads = await self._uploads(request)
        if len(uploads) > 1:
            raise Refusal(422, "too_many_pictures", "one picture is explained at a time", field=FIELD)
        facts, heat = await while_connected(request, self._service.heat(uploads[0], method, class_name))
        about = {"Saccade-Class": quote(heat.class_name), "Saccade-Heat": quote(heat.source)}
        headers = {"Saccade-Model": facts.model, **about}
        return Response(heat.png, media_type="image/png", headers=headers)

    async def model(self) -> ModelAnswer:
        """What answers: its hash, its classes in order, and what may be sent."""
        facts, limits = self._service.facts, self._service.options.limits
        granted = {
            "body_bytes": limits.body_bytes,
            "pictures": limits.pictures,
            "pixels": min(limits.pixels, facts.preparation.rules.max_pixels),
        }
        return ModelAnswer(
            model=facts.model,
            name=facts.name,
            architecture=facts.architecture,
            class_names=list(facts.class_names),
            threshold=facts.threshold,
            image_size=facts.preparation.side,
            device=facts.device,
            explains=bool(facts.methods),
            explain_methods=list(facts.methods),
            report=Path(facts.report_path).is_file(),
            limits=granted,
        )

    async def healthz(self) -> dict[str, str]:
        """Whether the server lives."""
        return {"status": "ok", "model": self._service.model_hash}

    async def readyz(self) -> dict[str, str]:
        """Whether pictures are taken: 503 while the model is being loaded again, and once a stop was asked for."""
        if not self._service.is_ready:
            stopping = self._service.stopping
            raise busy("stopping" if stopping else "not_ready", "being stopped" if stopping else self._service.trouble)
        return {"status": "ready", "model": self._service.model_hash, "trouble": self._service.trouble}

    async def metrics(self) -> Response:
        """Counters for Prometheus."""
        return Response(self._service.metrics.text(), media_type=self._service.metrics.media_type)

    async def _uploads(self, request: Request) -> list[Encoded]:
        if self._service.stopping:  # asked before the body is read: what is on its way by then is still answered
            raise busy("stopping", "the server is being stopped and takes no more pictures")
        return await read_uploads(request, self._service.options.limits.pictures)


async def while_connected(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result; or an end to the work, when whoever asked has gone away.

    Raises:
        Refusal: nobody is there to hear it.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(_NOBODY, "disconnected", "the sender went away")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _none_usable(rows: list[Row]) -> Refusal:
    first = rows[0]
    if any(row.reason == OUT_OF_MEMORY for row in rows):
        refusal = busy(OUT_OF_MEMORY, first.detail)
    else:
        refusal = Refusal(422, first.reason, first.detail, field=first.name)
    refusal.predictions = [row.to_json() for row in rows]
    return refusal
