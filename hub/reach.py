"""Whether a channel's provider does what is asked of it, as one worker of this process sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from hub.contract import Ambiguous, ChannelDown, SendError, Transient

_LASTS = timedelta(minutes=5)  # of nothing but failures before people hear of them, and of none before it is well
_FORGOTTEN = timedelta(minutes=30)  # without another try; the longest pause between two is half of that
_AGAIN = timedelta(hours=1)  # between two alerts of what goes on


@dataclass(frozen=True, slots=True)
class Work:
    """``down``, ``up``: the kinds of the alerts that it fails, and that it is well again; ``until``, ``since``: what
    they say of messages."""

    down: str
    up: str
    until: str
    since: str


SENDING: Final = Work(
    "down", "up", "its messages wait and are tried again: hub doctor", "the provider takes messages again"
)
RECEIVING: Final = Work(
    "not receiving",
    "receiving",
    "what people write does not come in before that is mended; it is tried again and again: hub doctor",
    "what people write comes in again",
)


class Reach:
    """``work``: what its worker asks for. In memory; what people have been told is in the table of alerts."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._words: str | None = None  # of the newest failure, if it has not worked since
        self._since = self._failed = datetime.min.replace(tzinfo=UTC)  # the first failure in a row, and the newest
        self._refused = False  # for a fault of ours, which does not pass by itself
        self._worked = False  # since the newest failure
        self._told: datetime | None = None  # when people heard of this trouble, or that it is over

    def worked(self) -> None:
        if self._words is not None or not self._worked:
            self._words, self._worked, self._told = None, True, None

    def failed(self, error: Exception, now: datetime) -> None:
        if self._words is None or now - self._failed > _FORGOTTEN:
            self._since, self._told = now, None
        self._words = error.detail if isinstance(error, SendError) else type(error).__name__
        self._failed, self._worked, self._refused = now, False, isinstance(error, ChannelDown)

    def handed(self, error: BaseException | None, now: datetime) -> None:
        """What came of a message. Most refusals say nothing: of them some are made here, and others are meant."""
        if error is None:
            self.worked()
        elif isinstance(error, Transient | Ambiguous | ChannelDown):
            self.failed(error, now)

    def trouble(self, now: datetime) -> str | None:
        """Why it does not work, once that is more than a moment."""
        lasts = self._refused or self._failed - self._since >= _LASTS
        return self._words if lasts and now - self._failed <= _FORGOTTEN else None

    def is_news(self, now: datetime) -> bool:
        """Whether people should hear how it goes."""
        if self.trouble(now) is not None:
            return self._told is None or now - self._told >= _AGAIN
        return self._worked and self._told is None and now - self._failed >= _LASTS

    def told(self, now: datetime) -> None:
        self._told = now
