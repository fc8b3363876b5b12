"""Offhook against a real Asterisk 22: `python -m tests.asterisk`."""
