"""Every error evalpipe raises on purpose, as one tree. A message says which thing, what is wrong and what to do next.

Anything outside this tree that reaches the command line is a bug in evalpipe, not in its input.
"""


class EvalpipeError(Exception):
    """The root. `exit_code` is what the command line returns: 2 is bad input or "could not decide"."""

    exit_code: int = 2


class InputError(EvalpipeError):
    """Something a person or a client handed in cannot be used: a file, a row, an option."""


class SettingsError(InputError):
    """A setting or an EVALPIPE_* variable has a value that it cannot have."""


class StateError(EvalpipeError):
    """The request is sound but not in this state: an unknown issue, a release never seen, an empty home."""


class ConflictError(StateError):
    """Somebody, perhaps the same person in another window, has changed what the request rests on. Nothing was done."""


class JournalError(StateError):
    """Received bytes could not be made durable: a full or failing disk. Nothing of the batch counts as received."""


class ExpiredError(StateError):
    """The raw bytes of a segment were removed when their retention had passed; its spans are in the tables."""


class NotEnoughEvidenceError(EvalpipeError):
    """There are too few annotations to say anything honest; the message says how many more are needed."""


class ArtifactError(InputError):
    """An evaluator artifact does not satisfy its schema or its own hash; it is never run."""


class EvaluatorFaultError(EvalpipeError):
    """An evaluator could not tell. It becomes the verdict `fault`, never a pass or a fail."""


class BudgetError(EvaluatorFaultError):
    """A run has asked a model as much as it may; nothing more is asked in it."""


class ModelDownError(EvaluatorFaultError):
    """The model cannot be reached, refuses everybody, or does not exist; nothing more is asked of it in this run."""


class ModelBusyError(EvaluatorFaultError):
    """The model gave no answer to one question in spite of all retries; a later one may well be answered."""


class PromptTooLongError(EvaluatorFaultError):
    """A prompt is longer than the model's context window."""


class UnreadableAnswerError(EvaluatorFaultError):
    """A model answered, and what it was asked for cannot be read from its answer, nor from a second one."""


class LakeConflictError(EvalpipeError):
    """Another writer changed a table between read and commit more often than the bounded retries allow."""


class UndeliveredError(EvalpipeError):
    """Whoever should have been told was not; it is tried again. The message never holds the address."""
