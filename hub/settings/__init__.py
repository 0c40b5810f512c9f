"""Settings: ``Settings(...)`` holds values and reads nothing; ``load()`` reads every source."""

from hub.settings.sources import Places, load, places
from hub.settings.values import (
    ConfigError,
    Conversation,
    Egress,
    Listen,
    Media,
    Role,
    Settings,
    explain,
    leaves,
    master_key,
    nearest,
    unknown,
    variable,
)

__all__ = [
    "ConfigError",
    "Conversation",
    "Egress",
    "Listen",
    "Media",
    "Places",
    "Role",
    "Settings",
    "explain",
    "leaves",
    "load",
    "master_key",
    "nearest",
    "places",
    "unknown",
    "variable",
]
