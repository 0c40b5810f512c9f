"""Which templates a provider has approved for a channel, as far as it told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.contract import TemplateNews
from hub.policy.window import TemplateState
from hub.store.schema import template


def learn(connection: Connection, channel: str, news: TemplateNews, at: datetime) -> None:
    """Keep what the provider says now; older news that come late change nothing."""
    mine = sa.and_(
        template.c.channel == channel, template.c.name == news.name, template.c.language == news.language
    )
    known = connection.execute(sa.select(template.c.at).where(mine)).scalar_one_or_none()
    said = {name: word for name in ("status", "category") if (word := getattr(news, name)) is not None}
    if known is None:
        names = {"channel": channel, "name": news.name, "language": news.language}
        connection.execute(sa.insert(template).values({"status": "approved"} | said | names | {"at": at}))
    elif known <= at:
        connection.execute(sa.update(template).where(mine).values(said | {"at": at}))


def states(connection: Connection, channel: str, names: Iterable[str]) -> dict[tuple[str, str], TemplateState]:
    """By name and language, of the templates the provider told of."""
    wanted = set(names)
    if not wanted:
        return {}
    query = sa.select(template).where(template.c.channel == channel, template.c.name.in_(wanted))
    return {(row.name, row.language): TemplateState(row.status, row.category) for row in connection.execute(query)}


def usable(connection: Connection, channel: str, categories: Sequence[str]) -> Sequence[Any]:
    """Approved templates of these categories, or of an unknown one: name, language."""
    query = (
        sa.select(template.c.name, template.c.language)
        .where(
            template.c.channel == channel,
            template.c.status == "approved",
            sa.or_(template.c.category.is_(None), template.c.category.in_(categories)),
        )
        .order_by(template.c.name, template.c.language)
    )
    return connection.execute(query).all()
