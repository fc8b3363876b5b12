"""A cascade behind the engine's seam: voice activity, recogniser with a grammar, rules or an LLM, synthesiser."""
