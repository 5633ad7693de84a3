"""`python -m agentsearch` is the command `agentsearch`."""

from agentsearch.cli.main import main

main()
