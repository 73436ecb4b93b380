"""The wording of a question: what makes two questions the same words."""


def wording(question: str) -> str:
    """The text of a question without hint and options, with every run of white space as one space, none at the ends.

    Letters keep their case, and marks and numbers stay: wordings are one only if a reader cannot tell them apart.
    """
    return " ".join(question.split())
