"""Runs the command line as `python -m segcli`."""

from segcli.cli.app import main

if __name__ == "__main__":
    main()
