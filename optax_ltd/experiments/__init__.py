"""Experiments: can a network learn what depends on the distant past?"""
