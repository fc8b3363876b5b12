"""How the built-in model is trained: speech bank -> codec -> tokens -> language model, each stage resumable.

Every stage reads and writes one working folder outside the repository and takes up where it was stopped.
"""
