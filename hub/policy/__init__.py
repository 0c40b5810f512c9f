"""Whether a message may go out: keywords, the decision and its explanation."""
