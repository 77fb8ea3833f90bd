"""What calibration pairs support: a threshold for a promise, and whether escalating helps. Pure."""
