"""Figures for Prometheus."""

import asyncio
import hmac
import logging
import platform
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from app.core.database import AsyncDatabase, connections, replica
from app.core.db import migrations
from app.core.observability.metrics import CONNECTIONS, Processes, aggregated
from app.core.settings import settings
from app.core.timeout_cache import TimeoutCache
from app.domain.errors import NotSignedIn
from app.ml.serving.model_order import ServingModels
from app.monitoring.prometheus import StoredFigures, figures
from app.routers.dependencies import bearer_of
from app.schemas.problem import problems

router = APIRouter(tags=["Health"])
log = logging.getLogger("smartstudy.metrics")
WORDS = "Prometheus' text format, or OpenMetrics where it is asked for."
PLAIN: dict[int | str, dict[str, Any]] = {
    200: {"description": WORDS, "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def stored_figures() -> TimeoutCache[StoredFigures]:
    """Make the cache of the figures from the database, which is asked every few seconds and not waited for."""
    return TimeoutCache(figures, seconds=2.0, fresh=3.0)


@router.get("/metrics", response_class=Response, responses={**problems(401), **PLAIN})
async def get_metrics(request: Request) -> Response:
    """Requests, predictions, trainings, live quality and the process, for Prometheus; no personal data.

    With METRICS_TOKEN set it wants `Authorization: Bearer` with that token. While the database is away, what it would
    say is left out and `smartstudy_database_up` is 0.
    """
    wanted = settings().metrics_token
    if wanted and not hmac.compare_digest(bearer_of(request).encode(), wanted.get_secret_value().encode()):
        raise NotSignedIn("Send `Authorization: Bearer` with METRICS_TOKEN.")
    state = request.app.state
    note_connections(state.database)
    stored = await _stored(state.figures)
    registry = CollectorRegistry()
    store_up = await asyncio.to_thread(lambda: state.serving.store_problem is None)  # it may wait a second at first
    here = ServiceFigures(request.app.version, state.serving, stored is not None, store_up)
    for collector in (aggregated(), Processes(), here, stored):
        if collector is not None:
            registry.register(collector)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=None, headers={"Content-Type": content_type})


async def _stored(asked: TimeoutCache[StoredFigures]) -> StoredFigures | None:
    try:
        return await asked.answer()
    except Exception as why:  # whatever it is: the scrape tells what this process knows
        log.warning("the database has no figures: %s: %s", type(why).__name__, " ".join(str(why).splitlines()[:1]))
        return None


class ServiceFigures:
    """The figures that this process knows by itself."""

    def __init__(self, version: str, serving: ServingModels, database_up: bool, store_up: bool) -> None:
        self._version, self._serving, self._up, self._store_up = version, serving, database_up, store_up

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("smartstudy_database_up", "1 while the database gives its figures.", self._up)
        yield GaugeMetricFamily("smartstudy_store_up", "1 while the store of the models answers.", self._store_up)
        if standby := replica():
            text = "1 unless the replica (DATABASE_READ_URL) did not answer who asked it last."
            yield GaugeMetricFamily("smartstudy_replica_up", text, standby.problem is None)
        degraded = bool(self._serving.problems)
        yield GaugeMetricFamily("smartstudy_degraded", "1 while a model should answer but can't.", degraded)
        build = {"version": self._version, "schema": migrations.REVISION, "python": platform.python_version()}
        yield InfoMetricFamily("smartstudy_build", "What runs here.", build)


def note_connections(database: AsyncDatabase) -> None:
    """Note the connections of this process; with several processes, each notes its own."""
    pools = {"requests": database.connections(), "others": connections()}
    for pool, (at_work, idle) in pools.items():
        CONNECTIONS.labels(pool, "in_use").set(at_work)
        CONNECTIONS.labels(pool, "idle").set(idle)
