"""Email: SMTP out, IMAP in."""
