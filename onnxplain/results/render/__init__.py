"""Drawing: a heatmap over its picture, and feature maps as a contact sheet.

Everything here takes and returns uint8 RGB pictures.
"""
