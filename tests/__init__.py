"""Tests; each module covers the source module of the same name."""
