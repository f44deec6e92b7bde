"""Slow, literal implementations of the gradient-free methods, to which fast ones are compared.

Each function implements one paper's formula in numpy and scipy, one sample and one loop step at a
time, in float64. It takes the model as a plain callable, such as those of
`tools.cases.onnx_calls`. Nothing here uses onnxplain, torch or OpenCV, so agreement with any of
them is evidence.

resize        bilinear interpolation, both conventions
perturbation  scorecam, occlusion, rise: maps that come from a changed input
layer         cam, ablationcam, reciprocam, eigencam, kpcacam, fem: maps from a layer's activation
paths         integrated gradients along any path, and the path that guided_ig takes
"""
