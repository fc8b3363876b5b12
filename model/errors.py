"""What can go wrong inside the model package.

ModelError
+-- ConfigError         a configuration that no model can be built from
+-- CheckpointError     a file that is not the checkpoint it should be
+-- SlotError           a slot used out of turn (started twice, stepped while free)
+-- PromptError         a history or prompt the model cannot take
+-- VoiceError          a synthetic voice that cannot speak here (owned by the voices module)
+-- CompileError        a step that cannot be compiled, or a compiled one that cannot be used
+-- RecordingError      recordings for training that are incomplete, malformed or cannot be aligned
"""


class ModelError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(ModelError):
    """A configuration is inconsistent or has unknown keys."""


class CheckpointError(ModelError):
    """A checkpoint file is missing, of the wrong kind, or does not fit its configuration."""


class SlotError(ModelError):
    """A slot was used out of turn."""


class PromptError(ModelError):
    """A token history or prompt does not fit the model."""


class VoiceError(ModelError):
    """A synthetic voice cannot speak: its engine is missing or refused the text."""


class RecordingError(ModelError):
    """A folder of recordings lacks something, or none of it can be aligned."""


class CompileError(ModelError):
    """A step cannot be compiled, or a compiled one cannot be used; the plain step does as well."""
