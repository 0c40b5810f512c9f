"""What the channels on Twilio's messaging API have in common. No adapter itself."""
