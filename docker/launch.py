#!/usr/bin/env python3
"""Run mnistctl, as the console script that pip writes does."""

from mnistctl.__main__ import main

main()
