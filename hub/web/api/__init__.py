"""The REST API: ``/api/v1`` and ``/openapi.json``."""

from hub.web.api.serve import ROUTES, mount

__all__ = ["ROUTES", "mount"]
