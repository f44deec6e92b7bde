"""Formulas written once over a small array namespace: run by numpy, or written as graph nodes.

Batches come first and axes are counted from the end, so that a formula holds for one sample and for
many. Arrays of both namespaces take the operators + - * / **, unary minus and comparisons.
"""
