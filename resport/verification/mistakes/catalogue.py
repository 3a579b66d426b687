"""All known mistakes that a network has a place for, those first that explain most."""

from __future__ import annotations

from collections.abc import Iterator

from resport.verification.mistakes.in_graph import graph_mistakes
from resport.verification.mistakes.in_options import option_mistakes
from resport.verification.mistakes.in_tensors import weight_mistakes
from resport.verification.mistakes.kinds import Mistake
from resport.verification.mistakes.workbench import Workbench


def known_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """Every known mistake of a network.

    Args:
        bench: the network.
    """
    yield from option_mistakes(bench)
    yield from graph_mistakes(bench)
    yield from weight_mistakes(bench)
