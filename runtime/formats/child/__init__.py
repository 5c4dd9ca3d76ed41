"""Processes of their own for what reads the files of others: children.py, sandbox.py, and what they say, records.py."""
