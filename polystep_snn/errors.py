"""The one exception a user can cause."""


class InputError(ValueError):
    """Something the caller gave is unusable. The message is one line: the problem, the value, the fix.

    The command line prints it and exits with code 2; any other exception is a bug and keeps its traceback.
    """
