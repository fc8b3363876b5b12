"""A cascade behind the engine's seam: voice activity, recogniser, rules or a language model, synthesiser."""
