"""What is wrong with what the user gave."""


class InputError(ValueError):
    """The user gave what cannot be; raised before anything is trained.

    Attributes:
      field: The field of a config, or the argument, that is wrong, if it is one. The
        message has it in backticks.
    """

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field


def refusal(field: str, required: str, came: str) -> InputError:
    """The error for a field or an argument.

    Args:
      field: its name.
      required: what it must be.
      came: what it is.
    """
    return InputError(f"`{field}` must be {required}; got {came}.", field)
