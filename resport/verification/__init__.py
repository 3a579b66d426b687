"""Verification: exact weights, then forward passes. Frameworks are imported when networks are run, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.lazy import lazy_names

if TYPE_CHECKING:
    from resport.verification.comparison import DiffReport, diff
    from resport.verification.own_networks.callable_side import CallableSide
    from resport.verification.own_networks.keras_side import KerasModelSide
    from resport.verification.own_networks.process_side import ProcessSide
    from resport.verification.own_networks.saved_model_side import SavedModelSide
    from resport.verification.own_networks.verification import verify_networks
    from resport.verification.references.against import verify_against
    from resport.verification.references.reference import Reference, save_reference
    from resport.verification.references.stored_reference import load_reference
    from resport.verification.report import VerificationReport
    from resport.verification.verification import verify

__all__ = [
    "CallableSide",
    "DiffReport",
    "KerasModelSide",
    "ProcessSide",
    "Reference",
    "SavedModelSide",
    "VerificationReport",
    "diff",
    "load_reference",
    "save_reference",
    "verify",
    "verify_against",
    "verify_networks",
]

__getattr__ = lazy_names(
    __name__,
    {
        "CallableSide": "resport.verification.own_networks.callable_side",
        "DiffReport": "resport.verification.comparison",
        "KerasModelSide": "resport.verification.own_networks.keras_side",
        "ProcessSide": "resport.verification.own_networks.process_side",
        "Reference": "resport.verification.references.reference",
        "SavedModelSide": "resport.verification.own_networks.saved_model_side",
        "VerificationReport": "resport.verification.report",
        "diff": "resport.verification.comparison",
        "load_reference": "resport.verification.references.stored_reference",
        "save_reference": "resport.verification.references.reference",
        "verify": "resport.verification.verification",
        "verify_against": "resport.verification.references.against",
        "verify_networks": "resport.verification.own_networks.verification",
    },
)
