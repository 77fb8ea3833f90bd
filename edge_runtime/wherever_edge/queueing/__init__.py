"""Calls that wait for an engine: who goes next, and which of them share a run."""
