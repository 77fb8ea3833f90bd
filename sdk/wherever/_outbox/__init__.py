"""Calls that are answered later: kept on the disk until the network allows, and delivered once.

entry.py and age.py say what lies there and how old it is, drain.py which call is sent next and
when (all three pure); disk.py and box.py keep it safe across any crash; worker.py sends, and
outbox.py is all of it together, as a client uses it.
"""
