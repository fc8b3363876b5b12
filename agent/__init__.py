"""Owns calls: sessions, the duplex loop, workers, the store, the control API and what they measure."""
