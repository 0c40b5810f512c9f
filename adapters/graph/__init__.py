"""What the channels on Meta's Graph API have in common. No adapter itself."""
