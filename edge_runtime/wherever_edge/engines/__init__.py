"""Engines: adapters to the runtimes that can run a variant in this process."""
