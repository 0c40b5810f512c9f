"""Web chat: a widget for the business's own site, spoken to over a WebSocket."""
