"""Hosts that calls are sent to: what they show is kept, and they are probed beside the calls."""
