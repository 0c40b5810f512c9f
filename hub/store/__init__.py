"""The database: schema, migrations, transactions, the inbox's group commit."""

from hub.store.base import InboxRow, Store
from hub.store.open import open_store

__all__ = ["InboxRow", "Store", "open_store"]
