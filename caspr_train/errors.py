"""The two ways a command can fail for a reason its user can mend; a third error, stopping.Stopped, is no failure."""


class CasprError(Exception):
    """An error whose message is meant for the person at the command line: one line, with the mend in it."""

    exit_code = 1


class DataError(CasprError):
    """The data, the database or a file is not what the command needs (exit code 1)."""


class UsageError(CasprError):
    """The command was asked for something that cannot be (exit code 2)."""

    exit_code = 2
