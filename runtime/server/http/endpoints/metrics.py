"""/metrics, as Prometheus reads them, with llama-server's names where it has one."""

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.responses import Response

from ...jobs import Metrics
from ..endpoint import Call, Endpoint
from ..served import Workers


class _Collector:
    """The workers' figures, read anew for each answer."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        found = self._workers.metrics()
        for name, value, text in _counters(found):
            yield CounterMetricFamily(f"vkrun:{name}", text, value=value)
        jobs = CounterMetricFamily("vkrun:requests", "Requests by how they ended", labels=["ended"])
        for ended, n in found.n_jobs.items():
            jobs.add_metric([ended], n)
        yield jobs
        for name, value, text in _gauges(found):
            yield GaugeMetricFamily(f"vkrun:{name}", text, value=value)


def _counters(found: Metrics) -> tuple[tuple[str, float, str], ...]:
    return (
        ("prompt_tokens", found.n_prompt, "Tokens of prompts that were read"),
        ("prompt_tokens_reused", found.n_reused, "Tokens of prompts that needed no reading"),
        ("prompt_seconds", found.prompt_s, "Time requests spent having their prompts read"),
        ("tokens_predicted", found.n_generated, "Tokens made"),
        ("tokens_predicted_seconds", found.generate_s, "Time requests spent having tokens made"),
        ("worker_restarts", found.n_restarts, "Workers that had to be started again"),
    )


def _gauges(found: Metrics) -> tuple[tuple[str, float, str], ...]:
    read_s, made_s = found.prompt_s, found.generate_s
    return (
        ("requests_processing", found.n_running, "Requests in slots"),
        ("requests_deferred", found.n_queued, "Requests that wait for a slot"),
        ("slots", found.n_seats, "Slots there are"),
        ("prompt_tokens_seconds", found.n_prompt / read_s if read_s else 0, "Tokens read a second, of a request"),
        ("predicted_tokens_seconds", found.n_generated / made_s if made_s else 0, "Tokens made a second, of a request"),
    )


async def metrics(call: Call) -> Response:
    registry = CollectorRegistry()
    registry.register(_Collector(call.served.workers))  # pyright: ignore[reportArgumentType]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


ENDPOINTS = (Endpoint("GET", "/metrics", metrics, "Figures for Prometheus", gives="text/plain"),)
