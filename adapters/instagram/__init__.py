"""Instagram's direct messages, of a professional account."""
