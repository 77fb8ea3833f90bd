"""Engines in worker processes: what kills or hangs a native runtime does not end the application.

Each session of an isolated engine has a process of its own. A fault then takes one model away for a
moment and no other, and what a model holds is freed by ending its process.
"""
