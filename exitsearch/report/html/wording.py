"""Words that pages share."""

from __future__ import annotations

import re


def shortened(text: str) -> str:
    """A text whose long numbers have four digits that matter: for readers, not for commands.

    >>> shortened("uniform:0.4586701216995756,4.586701216995756")
    'uniform:0.4587,4.587'
    >>> shortened("discrete:10@0.2,1250.5@0.8")
    'discrete:10@0.2,1250.5@0.8'
    """
    return re.sub(r"\d+\.\d{4,}", lambda found: f"{float(found[0]):.4g}", text)


def titled(text: str) -> str:
    """A text that begins with a capital letter, and is otherwise as it was.

    >>> titled("accuracy over budget on MNIST")
    'Accuracy over budget on MNIST'
    """
    return text[:1].upper() + text[1:]
