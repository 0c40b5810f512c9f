"""Data that people edit: example settings, keyword lists, manifests."""
