"""What the service counts, as Prometheus reads it: requests, errors and seconds by path; the model in use."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Seconds: a forecast takes some hundredths, an explanation some tenths.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "memberlevel_requests", "Requests by path and status", ("path", "status"), registry=self._registry
        )
        self._errors = Counter(
            "memberlevel_errors", "Requests that were answered by an error", ("path",), registry=self._registry
        )
        self._seconds = Histogram(
            "memberlevel_request_seconds", "Seconds by path", ("path",), buckets=BUCKETS, registry=self._registry
        )
        self._model = Gauge("memberlevel_model", "1 for the model in use", ("model_version",), registry=self._registry)

    def saw(self, path: str, status: int, seconds: float) -> None:
        """One request was answered; ``path`` is one of the service's own, so that there are few."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
        if status >= 400:
            self._errors.labels(path).inc()

    def uses(self, model_version: str | None) -> None:
        """Which model answers now; None: none does."""
        self._model.clear()
        if model_version is not None:
            self._model.labels(model_version).set(1)

    def text(self) -> bytes:
        """All of it in the text format."""
        return generate_latest(self._registry)
