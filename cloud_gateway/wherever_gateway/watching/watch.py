"""Everything that watches one gateway, from its start to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError, WhereverError, missing_extra
from wherever_gateway.watching.exposition import exposition
from wherever_gateway.watching.listener import MetricsListener, start_metrics
from wherever_gateway.watching.log import CallLog, Detail
from wherever_gateway.watching.metrics import Metrics
from wherever_gateway.watching.statistics import Statistics
from wherever_gateway.watching.watched import Watched

if TYPE_CHECKING:
    from wherever_edge.host import LocalHost
    from wherever_edge.oip.admission import Admission
    from wherever_gateway.watching.traces import Tracing


class WatchOptions(NamedTuple):
    """What is to be watched, and where it is told.

    Attributes:
        metrics_port: the port of the metrics; 0 takes any free port, None tells none.
        metrics_address: the address that they are told at; they need no key.
        log: whose calls have a line on standard error; see `CallLog`.
        traces: whether spans are recorded.
        otlp_endpoint: the URL of the collector that they go to; None: as OpenTelemetry's own
            variables say, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
        share: the share of calls without a `traceparent` that begin a trace; those with one follow
            its flag.
    """

    metrics_port: int | None = None
    metrics_address: str = "127.0.0.1"
    log: Detail = "refused"
    traces: bool = False
    otlp_endpoint: str | None = None
    share: float = 1.0


class Watch:
    """Counts, traces and logs the calls of a gateway.

    Args:
        options: what is to be watched.

    Raises:
        SettingsError: the collector's URL is none.
        MissingExtraError: a package that it takes is not installed.

    Attributes:
        metrics: counts the calls.
        log: has a line for them.
        statistics: what was asked of the models, as the protocol tells it.
    """

    def __init__(self, options: WatchOptions) -> None:
        self._options = options
        self._host: LocalHost | None = None
        self._listener: MetricsListener | None = None
        self._tracing = _tracing(options)
        self.log = CallLog(options.log)
        self.metrics = Metrics(self._knows)
        self.statistics = Statistics(self.metrics)

    def admission(self, inner: Admission) -> Watched:
        """The same admission, watched."""
        return Watched(inner, self.metrics, self._tracing, self.log)

    def start(self, host: LocalHost) -> None:
        """Tell the metrics from now on, if they are wanted.

        Args:
            host: whose queue and models are told of, too.

        Raises:
            SettingsError: the address or port cannot be listened on.
            MissingExtraError: prometheus-client is not installed.
        """
        self._host = host
        port = self._options.metrics_port
        if port is None or self._listener is not None:
            return
        try:
            # an extra, 22 ms
            from wherever_gateway.watching.collector import (  # noqa: PLC0415
                HostCollector,
                host_levels,
            )
        except ImportError as error:
            raise missing_extra("serving metrics", "gateway") from error
        self._listener = start_metrics(
            self._options.metrics_address,
            port,
            lambda: exposition(self.metrics.counted()),
            collectors=[HostCollector(host_levels(host))],
        )

    @property
    def port(self) -> int | None:
        """Where the metrics are told; None when they are not."""
        return None if self._listener is None else self._listener.port

    def close(self) -> None:
        """Send and write what waits, and watch no more."""
        if self._listener is not None:
            self._listener.close()
        self.log.close()
        if self._tracing is not None:
            self._tracing.close()

    def _knows(self, model: str) -> bool:
        if self._host is None:
            return False
        try:
            self._host.store.get(model)
        except WhereverError:
            return False
        return True


def _tracing(options: WatchOptions) -> Tracing | None:
    endpoint = options.otlp_endpoint
    if not options.traces:
        return None
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise SettingsError(
            f"otlp_endpoint: expected the collector's URL for OTLP over HTTP, such as "
            f"http://127.0.0.1:4318, found {endpoint!r}"
        )
    try:
        from wherever_gateway.watching.traces import open_tracing  # noqa: PLC0415 (an extra)

        return open_tracing(endpoint, options.share)
    except ImportError as error:
        raise missing_extra("tracing", "telemetry") from error
