"""Formulas are written once for a small array namespace; numpy runs them, or they become nodes.

The batch axis is first and other axes are counted from the end, so that a formula works for one
sample and for many. Arrays of both namespaces support the operators + - * / **, unary minus and
comparisons.
"""
