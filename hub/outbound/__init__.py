"""One worker per channel: claim, decide, send, settle. Waiting messages stay in our database."""

from hub.outbound.lane import Lane

__all__ = ["Lane"]
