"""Bridges SIP/RTP calls to mono float32 audio at the model rate. No torch and no Redis here."""
