"""Measuring what plans cost on this machine, and keeping the figures."""
