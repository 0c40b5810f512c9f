"""The agents' Slack in the demo."""

from __future__ import annotations

from typing import Any

from adapters.slack.simulator import Simulator
from hub.testing.device import Desk, Post, Thread

_AGENT = "Zoe"


class Device(Desk):
    channel = "desk"
    title = "Slack"

    def __init__(self) -> None:
        self.simulator: Simulator = Simulator()
        self.simulator.person(_AGENT)

    async def say(self, thread: str, text: str) -> str:
        return (await self.simulator.say(text, thread=thread, user=_AGENT)).ts

    async def press(self, thread: str, action: str) -> None:
        if not await self.simulator.press(action, thread=thread, user=_AGENT):
            raise ConnectionError("the hub did not acknowledge the button")

    def threads(self) -> list[Thread]:
        roots = [row for row in self.simulator.shown() if row["bot"]]
        return [self._thread(row) for row in roots]

    def _thread(self, root: dict[str, Any]) -> Thread:
        posts = [row for row in self.simulator.shown(root["ts"]) if row["ts"] != root["ts"]]
        return Thread(root["ts"], _post(root), [_post(row) for row in posts if not row["deleted"]])


def _post(row: dict[str, Any]) -> Post:
    return Post(
        row["ts"],
        row["name"],
        row["text"],
        row["icon"] or "",
        bool(row["bot"]),
        [each["emoji"] for each in row["reactions"]],
        [each["name"] for each in row["files"]],
        [{"action": each["action"], "label": each["label"]} for each in row["buttons"]],
    )
