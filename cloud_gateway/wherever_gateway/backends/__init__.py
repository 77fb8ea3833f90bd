"""Servers of the Open Inference Protocol behind this gateway, which answer for some models."""
