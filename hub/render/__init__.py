"""From what a message says to parts that fit a channel. Pure: data in, data out."""

from hub.render.choices import choose
from hub.render.parts import Part, render
from hub.render.segments import Segments, segments
from hub.render.text import TooLong

__all__ = ["Part", "Segments", "TooLong", "choose", "render", "segments"]
