"""What can go wrong in ways that a message explains."""


class InputError(ValueError):
    """Something the caller gave is unusable. The message is one line: the problem, the value, the fix.

    The command line prints it and exits with code 2; any other exception is a bug and keeps its traceback.
    """


class BackendError(RuntimeError):
    """A run that failed where it ran, through no fault of its input: a killed process, a hung one, one that raised."""
