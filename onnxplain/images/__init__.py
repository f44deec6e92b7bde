"""From pictures to model inputs, and from heatmaps back to the pictures' own pixels.

Import from the submodules: `picture` (files and arrays to RGB), `geometry` (where pixels go),
`preprocess` (pixels to tensor), `sources` (where the preprocessing comes from) and `labels`.
None of them loads OpenCV before a picture is read or resized.
"""
