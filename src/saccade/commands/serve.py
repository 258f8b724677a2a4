"""`saccade serve`: a page and a REST API for a run."""

from __future__ import annotations

from typing import Annotated

import typer

from saccade.commands.terminal import screen_for
from saccade.errors import MissingExtraError
from saccade.flags import Debug, Device, Quiet

_EXTRA = frozenset({"fastapi", "starlette", "uvicorn", "h11", "prometheus_client", "python_multipart"})


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN|FILE.onnx", help="A run folder, or what `saccade export` wrote.")],
    host: Annotated[str, typer.Option(help="Address to listen on; another than this needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str,
        typer.Option(envvar="SACCADE_TOKEN", help="That requests must carry. Default: made up where others can ask."),
    ] = "",
    queue: Annotated[int, typer.Option(min=1, help="Pictures on their way; more get 503 and Retry-After.")] = 64,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Pictures the network is given at once.")] = 32,
    wait_ms: Annotated[float, typer.Option(min=0, max=1000, help="That a picture waits for others, at most.")] = 5,
    max_body: Annotated[int, typer.Option(min=1, metavar="MB", help="Of one request.")] = 20,
    max_pictures: Annotated[int, typer.Option(min=1, help="In one request.")] = 64,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of one picture: width times height.")] = 50_000_000,
    read_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a body may take to come.")] = 20,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds until an answer must be ready.")] = 30,
    max_connections: Annotated[int, typer.Option(min=1, help="Open at once.")] = 512,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name by which it may be called; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A foreign page that may call it (CORS); repeatable.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Serve a run: a page to drop pictures on at /, a REST API, its report. Ends with SIGTERM or Ctrl-C.

    New weights in the run are loaded while the old ones answer.

    Examples:

      saccade serve runs/animals

      saccade serve runs/animals --host 0.0.0.0 --port 80 --allow-host animals.example

      curl -F pictures=@dog.jpg http://127.0.0.1:8000/v1/predict
    """
    try:
        from saccade.use.serve import serve as serve_run
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        what = f"serving needs a library that is not installed: {error.name}"
        raise MissingExtraError(what, remedy='pip install "saccade[serve]"') from None
    from saccade.use.serve_messages import MEGABYTE, Limits, Options

    limits = Limits(
        queue=queue,
        body_bytes=max_body * MEGABYTE,
        pictures=max_pictures,
        pixels=max_pixels,
        connections=max_connections,
        read_seconds=read_timeout,
        compute_seconds=deadline,
    )
    hosts, origins = tuple(allow_host or ()), tuple(allow_origin or ())
    options = Options(host, port, token, batch, wait_ms / 1000, hosts, origins, device, limits)
    return serve_run(run, options, screen_for(quiet), lambda address: print(address, flush=True))
