"""Templates as marketers write them, and as attackers do."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hub.templates import TemplateError, parse

NOW = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
ANN: dict[str, Any] = {
    "name": "Ann",
    "tier": None,
    "due": "2026-04-01",
    "seen": datetime(2026, 3, 2, 23, 30, tzinfo=UTC),
    "total": "1234.5",
    "orders": [{"id": 1042, "items": ["lid", "box"]}, {"id": 1043, "items": []}],
    "long": "x" * 50_000,
}


def say(source: str, *, html: bool = False, **place: str) -> str:
    return parse(source, html=html).render(ANN, now=NOW, **place)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hi {{ name }}!", "Hi Ann!"),
        ("Hi {{ nick | default: 'there' }}!", "Hi there!"),
        ("{{ tier | default: 'basic' }}", "basic"),
        ("{% if tier %}gold{% else %}plain{% endif %}", "plain"),
        ("{% if nick %}{{ nick }}{% endif %}.", "."),
        ("{% for o in orders %}{{ o.id }}{% unless forloop.last %}, {% endunless %}{% endfor %}", "1042, 1043"),
        ("{{ orders[0].items | join: ' and ' }}", "lid and box"),
        ("{% assign first = orders | first %}{{ first.id | plus: 1 }}", "1043"),
        ("{{ name | upcase | append: '!' | replace: 'N', 'M' }}", "AMM!"),
        ("{% raw %}{{ name }}{% endraw %}", "{{ name }}"),
        ("{{ due | date }}", "Apr 1, 2026"),
        ("{{ 'today' | date: 'long' }}", "March 2, 2026"),
        ("{{ total | money: 'EUR' }}", "€1,234.50"),
        ("{{ total | number }}", "1,234.5"),
    ],
)
def test_what_a_template_says(source: str, text: str) -> None:
    assert say(source) == text


@pytest.mark.parametrize(
    ("locale", "zone", "text"),
    [
        ("de-AT", "Europe/Vienna", "3. März 2026, 00:30, € 1.234,50"),
        ("en-US", "America/New_York", "March 2, 2026, 6:30 PM, €1,234.50"),
        ("xx", "UTC", "March 2, 2026, 11:30 PM, €1,234.50"),
    ],
)
def test_dates_and_money_are_those_of_the_reader(locale: str, zone: str, text: str) -> None:
    source = "{{ seen | date: 'long' }}, {{ seen | time }}, {{ total | money: 'EUR' }}"
    assert say(source, locale=locale, zone=zone).replace(" ", " ") == text


def test_what_a_template_reads_is_known_before_it_runs() -> None:
    source = "{{ name }} {{ order.total }} {% for o in orders %}{{ o.id }}{% endfor %} {{ now | date }}"
    assert parse(source).variables == {"name", "order.total", "orders"}


@pytest.mark.parametrize("source", ["{{ nick }}", "{{ tier }}", "{{ orders[0].colour }}", "{{ nick | upcase }}"])
def test_a_missing_value_is_named(source: str) -> None:
    with pytest.raises(TemplateError, match="has no value") as caught:
        say(source)
    assert caught.value.missing is not None
    assert caught.value.missing.split(".")[-1].split("]")[-1] in source


@pytest.mark.parametrize("value", ["{{ name }}", "{% for i in (1..9) %}x{% endfor %}", "{{ '1' | times: 9 }}"])
def test_values_that_look_like_templates_stay_text(value: str) -> None:
    assert parse("{{ name }}").render({"name": value}, now=NOW) == value


def test_values_are_escaped_in_html_only() -> None:
    values = {"name": "<script>&", "day": date(2026, 3, 2)}
    assert parse("<b>{{ name }}</b>", html=True).render(values, now=NOW) == "<b>&lt;script&gt;&amp;</b>"
    assert parse("{{ name }} {{ name | upcase }}").render(values, now=NOW) == "<script>& <SCRIPT>&"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ name", "line 1"),
        ("one\n{% if name %}two", "endif"),
        ("one\n{{ name | nosuch }}", "unknown filter 'nosuch'"),
        ("{% include 'other' %}", "unexpected tag 'include'"),
        ("{{ due | date: '%Y' }}", "short, medium, long or full"),
        ("{{ name | date }}", "is no date"),
        ("{{ name | money: 'EUR' }}", "is no number"),
        ("{{ total | money }}", "needs a currency"),
        ("{{ 1 | divided_by: 0 }}", "divide by 0"),
    ],
)
def test_mistakes_are_told(source: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        say(source)


HOSTILE = {
    "endless range": "{% for i in (1..1000000000) %}a{% endfor %}",
    "range of a customer's own size": "{% for i in (1..name) %}a{% endfor %}",
    "range searched": "{% if (1..1000000000) contains 'x' %}{% endif %}",
    "loop in a loop": "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
    "long loop": "{% for i in (1..900) %}" + "{% if 1 == 2 %}{% endif %}" * 60 + "{% endfor %}",
    "doubling": "{% assign a = 'aaaaaaaaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 40,
    "replacing nothing": "{{ 'aa' " + "| replace: '', 'aaaaaaaaaaaaaaaa' " * 50 + "}}",
    "join": "{{ long | split: 'x' | join: 'yyyyyyyyyy' }}",
    "huge power": "{{ '1e999999999' | floor }}",
    "huge product": "{{ 9 " + "| times: 99999999 " * 100 + "}}",
    "huge output": "{% for i in (1..900) %}{{ long }}{% endfor %}",
    "huge variable": "{% capture x %}{% for i in (1..900) %}{{ long }}{% endfor %}{% endcapture %}",
    "wide date": "{{ 'now' | date: '%0999999999d' }}",
    "attribute walk": "{{ name.__class__.__mro__ }}",
    "attribute walk by brackets": "{{ now['__class__'] }}",
    "deep brackets": "{{ a" + "[a" * 2000 + "]" * 2000 + "}}",
    "deep blocks": "{% if true %}" * 500 + "{% endif %}" * 500,
    "one long expression": "{{ a." + "b." * 50_000 + "c }}",
    "never closed": "{{ " * 50_000,
    "too long": "x" * 200_001,
    "too many tags": "{{ name }}" * 3000,
    "slow filters": "{% for i in (1..900) %}{{ long | upcase | downcase | size }}{% endfor %}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_templates_are_stopped_in_little_memory(source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            say(source)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
