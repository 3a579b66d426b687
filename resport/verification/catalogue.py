"""All known mistakes that a network has a place for, those first that explain most."""

from __future__ import annotations

from collections.abc import Iterator

from resport.verification.graph_mistakes import graph_mistakes
from resport.verification.mistakes import Mistake
from resport.verification.option_mistakes import option_mistakes
from resport.verification.weight_mistakes import weight_mistakes
from resport.verification.workbench import Workbench


def known_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """Every known mistake of a network.

    Args:
        bench: the network.
    """
    yield from option_mistakes(bench)
    yield from graph_mistakes(bench)
    yield from weight_mistakes(bench)
