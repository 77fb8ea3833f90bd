"""A bench for decisions: how the router fares over recorded networks, against its rivals."""
