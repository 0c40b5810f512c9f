"""Facebook Messenger, of a page."""
