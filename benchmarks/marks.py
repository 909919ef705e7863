"""What stands in a page between two marks, and is written from records."""

_BEGIN = "<!-- {}: written by `python -m {}`. -->\n"
END = "<!-- End of what the records say. -->\n"


def begin(heading: str, module: str) -> str:
    """The first of two marks.

    Args:
      heading: what is told there.
      module: that writes it.
    """
    return _BEGIN.format(heading, module)


def between(text: str, mark: str, told: str) -> str:
    """A page with something else between two marks.

    Args:
      text: the page.
      mark: the first of the two, as `begin` made it.
      told: what is to stand there.

    Returns:
      The new text.
    """
    before, rest = text.split(mark)
    _, after = rest.split(END, maxsplit=1)
    return f"{before}{mark}\n{told}\n\n{END}{after}"
