"""Proofs that are kept: what the source computed is stored, and a target is held against it later."""
