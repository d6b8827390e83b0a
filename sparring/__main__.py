"""`python -m sparring`, for torchrun."""

from sparring.cli import main

main()
