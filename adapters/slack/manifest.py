"""The app manifest: what to paste into "Create an app from a manifest"."""

from __future__ import annotations

from typing import Any

# The least that works; each scope with the call or event that needs it.
SCOPES = (
    "channels:history",  # messages of a public desk channel; lookup of a post whose answer was lost
    "chat:write",  # chat.postMessage, chat.update, chat.postEphemeral
    "chat:write.customize",  # the customer's name and the channel's icon on each post
    "files:read",  # files that agents send to customers
    "files:write",  # files that customers send
    "groups:history",  # as channels:history, where the desk is a private channel
    "reactions:read",  # reactions of agents; which mark a post has
    "reactions:write",  # delivery marks
    "users:read",  # agents' names
)
EVENTS = ("message.channels", "message.groups", "reaction_added", "reaction_removed", "team_join")


def manifest(public_url: str, socket: bool, channel: str = "slack") -> dict[str, Any]:
    """``public_url``: the hub's address, no slash at the end; not used with ``socket``. ``channel``: its name there.

    Source: https://docs.slack.dev/reference/app-manifest
    """
    events: dict[str, Any] = {"bot_events": list(EVENTS)}
    interactivity: dict[str, Any] = {"is_enabled": True}
    if not socket:
        url = f"{public_url}/hooks/{channel}"
        events["request_url"] = url
        interactivity["request_url"] = url
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": "omnihub",
            "description": "Customers from every channel, one thread each.",
            "background_color": "#1f3a5f",
        },
        "features": {"bot_user": {"display_name": "omnihub", "always_online": True}},
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": socket,
            "token_rotation_enabled": False,
        },
    }
