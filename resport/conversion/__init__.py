"""Conversion: plan, stream, finish, report. The one place where bytes move.

Each name comes in when it is first used: listing a checkpoint needs nothing of what converts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.lazy import lazy_names

if TYPE_CHECKING:
    from resport.conversion.conversion import Route, convert, plan_route
    from resport.conversion.initialization import initialize
    from resport.conversion.inspection import InspectionReport, inspect
    from resport.conversion.report import ConversionReport
    from resport.conversion.stream import Progress

__all__ = [
    "ConversionReport",
    "InspectionReport",
    "Progress",
    "Route",
    "convert",
    "initialize",
    "inspect",
    "plan_route",
]

__getattr__ = lazy_names(
    __name__,
    {
        "ConversionReport": "resport.conversion.report",
        "InspectionReport": "resport.conversion.inspection",
        "Progress": "resport.conversion.stream",
        "Route": "resport.conversion.conversion",
        "convert": "resport.conversion.conversion",
        "initialize": "resport.conversion.initialization",
        "inspect": "resport.conversion.inspection",
        "plan_route": "resport.conversion.conversion",
    },
)
