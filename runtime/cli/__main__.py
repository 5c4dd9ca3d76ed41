"""`python -m runtime.cli`: what `plif` is, where a launcher such as torchrun asks for a module."""

from __future__ import annotations

from runtime.cli.main import main

main()
