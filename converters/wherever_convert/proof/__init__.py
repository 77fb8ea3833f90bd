"""Proof: what was measured of a package's variants, and whether it still holds."""
