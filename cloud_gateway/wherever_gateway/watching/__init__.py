"""What an operator sees of a gateway: metrics, statistics, traces, and a log of calls.

None of them has anything of a call's contents: no input, output, label, key or file name.
"""
