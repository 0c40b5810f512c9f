"""Meta's side of a page's Messenger."""

from __future__ import annotations

from typing import Any

from adapters.graph.records import Person, Sent, milliseconds
from adapters.graph.simulator import MessagingSimulator


class Simulator(MessagingSimulator):
    """One page. Delivery is told by message, reading by the time up to which all was read."""

    object = "page"
    closed = (10, 2018278)
    nobody = (100, 2018001)
    prefix = "m_"

    def config(self) -> dict[str, Any]:
        return {"page_id": self.account_id, **super().config()}

    def account(self) -> dict[str, Any]:
        return {"id": self.account_id, "name": self.name}

    def profile(self, person: Person) -> dict[str, Any]:
        first, _, last = person.name.partition(" ")
        return {"first_name": first, "last_name": last}

    def fits(self, text: str) -> bool:
        return len(text) <= 2000

    def receipts(self, message: Sent) -> list[dict[str, Any]]:
        if message.state == "sent":
            message.state = "delivered"
        return [{"delivery": {"mids": [message.id], "watermark": milliseconds(message.at)}}]

    def was_read(self, message: Sent) -> dict[str, Any]:
        return {"read": {"watermark": milliseconds(message.at)}}
