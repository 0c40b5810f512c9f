"""Meta's side of an account's direct messages at Instagram."""

from __future__ import annotations

from typing import Any

from adapters.graph.records import Person, Sent
from adapters.graph.simulator import MessagingSimulator


class Simulator(MessagingSimulator):
    """One professional account, with access through a page. Reading is told by message, delivery not at all."""

    object = "instagram"
    closed = (10, 2534022)
    nobody = (100, 2534014)
    prefix = "aWdfZAG1f"

    def config(self) -> dict[str, Any]:
        return {"account_id": self.account_id, "username": self.name.lower(), **super().config()}

    def account(self) -> dict[str, Any]:
        account = {"id": self.account_id, "username": self.name.lower()}
        return {"id": "1" + self.account_id, "name": self.name, "instagram_business_account": account}

    def profile(self, person: Person) -> dict[str, Any]:
        return {"name": person.name, "username": person.name.lower().replace(" ", ".")}

    def fits(self, text: str) -> bool:
        return len(text.encode()) <= 1000

    def receipts(self, message: Sent) -> list[dict[str, Any]]:
        return []

    def was_read(self, message: Sent) -> dict[str, Any]:
        return {"read": {"mid": message.id}}

    async def unsend(self, person: str, mid: str) -> int | None:
        """Somebody takes a message back."""
        return await self.tell(person, {"message": {"mid": mid, "is_deleted": True}})
