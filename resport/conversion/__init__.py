"""Conversion: plan, stream, finish, report. The one place where bytes move."""

from resport.conversion.conversion import Progress, Route, convert, plan_route
from resport.conversion.initialization import initialize
from resport.conversion.inspection import InspectionReport, inspect
from resport.conversion.report import ConversionReport

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
