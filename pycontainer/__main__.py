"""`python -m pycontainer`: the command line."""

from pycontainer.cli import main

if __name__ == "__main__":
    main()
