"""Comparisons with peers. They print tables, draw charts, and assert nothing about time."""
