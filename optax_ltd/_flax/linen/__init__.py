"""The recurrent layer for Flax Linen."""
