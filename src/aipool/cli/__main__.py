"""`python -m aipool.cli` is `aipool`."""

from aipool.cli import main

main()
