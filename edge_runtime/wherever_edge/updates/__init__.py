"""Signed updates on a device: what is installed, and how the next version comes to be."""
