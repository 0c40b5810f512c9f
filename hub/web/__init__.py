"""HTTP in: webhooks, files, health, the API."""
