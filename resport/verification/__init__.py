"""Verification: exact weights, then forward passes. Frameworks are imported when networks are run, not before."""

from resport.verification.against import verify_against
from resport.verification.callable_side import CallableSide
from resport.verification.comparison import DiffReport, diff
from resport.verification.keras_side import KerasModelSide
from resport.verification.own_networks import verify_networks
from resport.verification.process_side import ProcessSide
from resport.verification.reference import Reference, save_reference
from resport.verification.report import VerificationReport
from resport.verification.saved_model_side import SavedModelSide
from resport.verification.stored_reference import load_reference
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
