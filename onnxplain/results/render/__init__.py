"""Drawing: a heatmap over its picture, and feature maps as a contact sheet.

Everything here takes and returns uint8 RGB pictures. OpenCV is imported when something is drawn,
so that the names can be listed without it.
"""

from onnxplain.results.render.colormaps import COLORMAPS, DEFAULT_COLORMAP, check_colormap
from onnxplain.results.render.comparison import Cell, TargetRow, comparison
from onnxplain.results.render.frame import Caption
from onnxplain.results.render.overlay import overlay
from onnxplain.results.render.sheet import captioned_sheet, contact_sheet

__all__ = [
    "COLORMAPS",
    "DEFAULT_COLORMAP",
    "Caption",
    "Cell",
    "TargetRow",
    "captioned_sheet",
    "check_colormap",
    "comparison",
    "contact_sheet",
    "overlay",
]
