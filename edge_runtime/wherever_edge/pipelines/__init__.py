"""Pipelines: the declared steps between what people give and what an engine takes."""
