"""Words that pages share."""

from __future__ import annotations


def titled(text: str) -> str:
    """A text that begins with a capital letter, and is otherwise as it was.

    >>> titled("accuracy over budget on MNIST")
    'Accuracy over budget on MNIST'
    """
    return text[:1].upper() + text[1:]
