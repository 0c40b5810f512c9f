"""Runs the ``hub`` command with a flaw: ``python -m tests.crash.runner FLAW… --config FILE serve``."""

from __future__ import annotations

import sys

from tests.crash import flaws

if __name__ == "__main__":
    words = sys.argv[1:]
    while words and words[0] in flaws.ALL:
        flaws.ALL[words.pop(0)]()
    sys.argv[1:] = words
    from hub.cli import main

    main()
