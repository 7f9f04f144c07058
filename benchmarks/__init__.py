"""Comparisons with the peers. They print tables and assert nothing about time."""
