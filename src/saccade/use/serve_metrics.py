"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server; two in one process do not mix."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        about = "Requests by path of the API and status."
        self.requests = Counter("saccade_requests", about, ("path", "status"), registry=registry)
        about = "From the first byte of a request to the last of its answer, by path."
        self.seconds = Histogram("saccade_request_seconds", about, ("path",), buckets=_SECONDS, registry=registry)
        about = "Pictures by what became of them: answered, not_sure, or the reason code."
        self.pictures = Counter("saccade_pictures", about, ("outcome",), registry=registry)
        about = "Pictures that the network was given at once."
        self.batch_sizes = Histogram("saccade_batch_pictures", about, buckets=_SIZES, registry=registry)
        about = "Seconds that a batch took."
        self.batch_seconds = Histogram("saccade_batch_seconds", about, buckets=_SECONDS, registry=registry)
        about = "New models: loaded, or refused because they could not be used."
        self.reloads = Counter("saccade_reloads", about, ("outcome",), registry=registry)
        about = "How often the process with the network had to be started again."
        self.restarts = Counter("saccade_restarts", about, registry=registry)
        self._model = Gauge("saccade_model_info", "1 for the model that answers.", ("model",), registry=registry)

    def watch(self, pictures: Callable[[], float], ready: Callable[[], bool]) -> None:
        """Ask these whenever somebody asks us."""
        about = "Pictures on their way."
        Gauge("saccade_pictures_in_flight", about, registry=self._registry).set_function(pictures)
        about = "1 when pictures are taken."
        Gauge("saccade_ready", about, registry=self._registry).set_function(lambda: float(ready()))

    def serving(self, model: str) -> None:
        """Which model answers from now on."""
        self._model.clear()
        self._model.labels(model).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
