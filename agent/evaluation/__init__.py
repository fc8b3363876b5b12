"""Calls that measure: a test caller, scripted callers with known truth, scorers, a judge, a demo."""
