"""Verification: exact weights, then forward passes. Frameworks are imported when networks are run, not before."""

from resport.verification.comparison import DiffReport, diff
from resport.verification.report import VerificationReport
from resport.verification.verification import verify

__all__ = ["DiffReport", "VerificationReport", "diff", "verify"]
