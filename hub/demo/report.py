"""The story as text: each step as it happens, then the timeline and every decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hub.demo.story import Step, explained, tell
from hub.demo.world import World, world
from hub.registry import Adapters
from hub.timeline import DecisionView, MessageDetail, MessageView

NOTHING_REAL = "Simulated providers on this machine only: nothing is sent for real."


async def play(data: Path, installed: Adapters, as_json: Callable[[Any], None] | None = None) -> bool:
    """Play the story and print it, or hand it to ``as_json`` as one value. Returns whether all was as told."""
    console = Console(highlight=False, quiet=as_json is not None)
    console.print(f"[bold]{NOTHING_REAL}[/]\n")
    steps: list[Step] = []
    async with world(data, installed=installed) as stage:
        async for step in tell(stage):
            steps.append(step)
            _print_step(console, step)
        messages = await stage.messages()
        decided = await explained(stage)
    _print_timeline(console, stage, messages)
    _print_decisions(console, decided)
    failed = [step for step in steps if step.wrong]
    if as_json is not None:
        as_json(_plain(steps, messages, decided))
    elif failed:
        console.print(f"\n[red]{len(failed)} of {len(steps)} steps differ from the story.[/]")
    else:
        console.print(f"\nAll {len(steps)} steps went as told.")
    return not failed


def _plain(
    steps: Sequence[Step], messages: Sequence[MessageView], decided: Sequence[MessageDetail]
) -> dict[str, Any]:
    return {
        "ok": not any(step.wrong for step in steps),
        "steps": [{"step": step.words, "wrong": step.wrong} for step in steps],
        "timeline": [message.model_dump(mode="json", exclude_none=True) for message in messages],
        "decisions": [message.model_dump(mode="json", exclude_none=True) for message in decided],
    }


def _print_step(console: Console, step: Step) -> None:
    if step.wrong:
        console.print(f"[red]✗ {escape(step.words)}\n  but {escape(step.wrong)}[/]")
    else:
        console.print(f"[green]✓[/] {escape(step.words)}")


def _print_timeline(console: Console, stage: World, messages: Sequence[MessageView]) -> None:
    console.print(f"\n[bold]{escape(stage.person.name)}: one timeline[/]")
    for message in messages:
        arrow = {"in": "←", "out": "→", "note": "·"}[message.direction]
        way = message.via or ("note" if message.direction == "note" else message.channel)
        line = f"{message.at:%H:%M:%S} {arrow} {way:6} {message.author.name}: {message.text}"
        console.print(f"  {escape(line)}  [dim]{escape(_state(message))}[/]")


def _state(message: MessageView) -> str:
    return message.state + (f" ({message.reason})" if message.reason else "")


def _print_decisions(console: Console, decided: Sequence[MessageDetail]) -> None:
    console.print("\n[bold]Every decision[/]")
    for message in decided:
        console.print(f"  {escape(message.id)} to {escape(message.address or 'nobody')}: {escape(message.text)}")
        for decision in (each for way in message.deliveries for each in way.decisions):
            _print_decision(console, decision)


def _print_decision(console: Console, decision: DecisionView) -> None:
    colour = "green" if decision.verdict == "allow" else "red"
    console.print(f"    [{colour}]{escape(decision.verdict)}: {escape(decision.reason)}[/]")
    for check in decision.checks:
        console.print(f"      {'✓' if check.ok else '✗'} {escape(check.name)}: [dim]{escape(check.detail)}[/]")
