"""The mapping tables: load, expand, detect, plan. Knows names and shapes, never files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.lazy import lazy_names

if TYPE_CHECKING:
    from resport.mapping.detection import Detection, candidates, detect
    from resport.mapping.expansion import Expansion, Parameter, expand
    from resport.mapping.plan import Check, Fill, Ignored, Move, Plan, PlanOptions, plan_copy
    from resport.mapping.planning import plan_conversion
    from resport.mapping.tables import Table, load_table, shipped_tables, table_paths, tables_folder

__all__ = [
    "Check",
    "Detection",
    "Expansion",
    "Fill",
    "Ignored",
    "Move",
    "Parameter",
    "Plan",
    "PlanOptions",
    "Table",
    "candidates",
    "detect",
    "expand",
    "load_table",
    "plan_conversion",
    "plan_copy",
    "shipped_tables",
    "table_paths",
    "tables_folder",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Check": "resport.mapping.plan",
        "Detection": "resport.mapping.detection",
        "Expansion": "resport.mapping.expansion",
        "Fill": "resport.mapping.plan",
        "Ignored": "resport.mapping.plan",
        "Move": "resport.mapping.plan",
        "Parameter": "resport.mapping.expansion",
        "Plan": "resport.mapping.plan",
        "PlanOptions": "resport.mapping.plan",
        "Table": "resport.mapping.tables",
        "candidates": "resport.mapping.detection",
        "detect": "resport.mapping.detection",
        "expand": "resport.mapping.expansion",
        "load_table": "resport.mapping.tables",
        "plan_conversion": "resport.mapping.planning",
        "plan_copy": "resport.mapping.plan",
        "shipped_tables": "resport.mapping.tables",
        "table_paths": "resport.mapping.tables",
        "tables_folder": "resport.mapping.tables",
    },
)
