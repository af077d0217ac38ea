"""`python -m spakc` is `spakc`."""

from spakc.cli import main

main()
