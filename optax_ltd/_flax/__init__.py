"""Recurrent layers for Flax."""
