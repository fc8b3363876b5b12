"""The speech-to-speech model: codec, two-stream language model, engine, training. No sockets here."""
