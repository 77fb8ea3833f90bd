"""Starts a script of `wherever_convert.env` by an interpreter that has nothing else of ours.

Python puts the directory of this file, where the scripts are, at the head of its path.
"""

import runpy
import sys

OLDEST = (3, 10)

if __name__ == "__main__":
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"{sys.executable} is Python {found}; 3.10 or newer is needed")
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
