"""The one exception that a user's input can cause."""


class UserError(Exception):
    """Something the user gave is wrong: the text says what, where (file, pid, field) and what to do.

    Commands print it on one or two lines and exit with 2; anything else is our bug and keeps its traceback.
    """
