"""What a hub that serves says: one line an event on standard output, for people or as JSON."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from typing import Any, Literal

import structlog

Form = Literal["json", "console"]


def only_warnings() -> None:
    """For commands: nothing but warnings, beside their output; what `start_logging` set stays."""
    if not any(isinstance(handler, _Current) for handler in logging.getLogger().handlers):
        start_logging("warning", "console", "stderr")


def start_logging(level: str, form: Form, stream: Literal["stdout", "stderr"] = "stdout") -> None:
    """Our own events from ``level`` on; those of libraries, which may quote what is sent, only as warnings."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _Current(stream)
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_last(form, handler.stream.isatty())]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("hub", "adapters"):
        logging.getLogger(ours).setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Current(logging.StreamHandler[Any]):
    """Writes to what is standard output or error at that moment."""

    def __init__(self, name: str) -> None:
        logging.Handler.__init__(self)
        self._of = name

    @property
    def stream(self) -> Any:
        return getattr(sys, self._of)

    @stream.setter
    def stream(self, value: Any) -> None:
        raise AttributeError("it follows sys")


def _last(form: Form, colors: bool) -> Sequence[Any]:
    if form == "json":
        return [without_words, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [without_words, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]


def without_words(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A failure as its kind and place: its words may hold a message or a secret (HUB_DEBUG=1: with its words)."""
    failure = event.pop("exc_info", None)
    error = failure[1] if isinstance(failure, tuple) else failure if isinstance(failure, BaseException) else None
    if failure is True:
        error = sys.exception()
    if error is not None:
        event["exception"] = _told(error)
    return event


def _told(error: BaseException) -> str:
    if os.environ.get("HUB_DEBUG") == "1":
        return "".join(traceback.format_exception(error)).rstrip()
    kinds = [type(error).__name__]
    cause = error.__cause__ or error.__context__
    while cause is not None and len(kinds) < 5:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    frames = traceback.format_tb(error.__traceback__)
    return "".join(frames) + " from ".join(kinds)
