"""All known mistakes that a network has a place for, in the order in which they are tried.

Those come last that explain less: a background class that is kept leaves one class out of what it explains, which a
shift of all classes does not, and values that are just other ones are no explanation.
"""

from __future__ import annotations

from collections.abc import Iterator

from resport.verification.mistakes.in_graph import graph_mistakes
from resport.verification.mistakes.in_options import background_mistakes, option_mistakes
from resport.verification.mistakes.in_tensors import other_values, weight_mistakes
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
    yield from background_mistakes(bench)
    yield from other_values(bench)
