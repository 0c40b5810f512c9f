"""Slack as the desk: agents answer customers in threads of one channel."""
