"""Drawing: a heatmap over its picture, and feature maps as a contact sheet.

Everything here takes and returns uint8 RGB pictures. OpenCV is imported when something is drawn,
so that the names can be listed without it.
"""

from onnxplain.render.colormaps import COLORMAPS, DEFAULT_COLORMAP, check_colormap
from onnxplain.render.comparison import Cell, TargetRow, comparison
from onnxplain.render.frame import Caption
from onnxplain.render.overlay import overlay
from onnxplain.render.sheet import captioned_sheet, contact_sheet

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
