"""LINE, through an official account."""
