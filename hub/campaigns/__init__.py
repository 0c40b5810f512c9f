"""One message for many people: whom, what, when. It is planned, checked and sent as ordinary messages."""
