"""Molecules: atoms and forces through OpenMM, and the internal coordinates that generators learn."""
