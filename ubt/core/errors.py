"""Errors that a user can mend."""


class UbtError(Exception):
    """Something a user can mend: the message says what was expected, what came, and what to do."""


class BadInput(UbtError):
    """Wrong arguments, settings or paths; the command line leaves with exit code 2."""


class Cancelled(UbtError):
    """The user asked a run to stop; what was computed is kept and a later run resumes from it."""


class Forbidden(UbtError):
    """Somebody who is a reader asked for something that changes the cache."""

    def __init__(self) -> None:
        super().__init__(
            "expected an analyst, got a reader, who may look and export but not run, label, import or delete; whoever"
            " runs the app names its analysts in UBT_ANALYSTS"
        )
