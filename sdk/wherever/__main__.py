"""`python -m wherever`."""

from wherever.cli import main

if __name__ == "__main__":
    main()
