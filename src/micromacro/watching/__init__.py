"""A run that is watched: what it logs, and how it stands by that. Nothing heavy is imported."""
