"""The mapping tables: load, expand, detect, plan. Knows names and shapes, never files."""

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
