"""Hostile traffic against a running gateway: what it may cost, tell, and end."""
