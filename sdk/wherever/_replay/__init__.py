"""Calls run again from what was written down of them, and how that came out."""
