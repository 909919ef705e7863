"""The recurrent layer for Flax NNX."""
