"""Kinds of damage: each edits the operations at a cut, and nothing else."""
