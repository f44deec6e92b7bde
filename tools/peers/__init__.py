"""The torch libraries that implement the same methods, run on the same weights.

torchvision_shim   makes torchvision importable together with a CPU build of torch
modules            an ONNX model as a torch module, its layers found by ONNX names
maps               the peers' raw maps and weights, and their differences
gradcam            Grad-CAM and similar methods
propagation        guided backpropagation, deconvnet, DeepLIFT and LRP
exports            torchvision networks with random weights, and their exports

Importing any of them needs the `peers` extra: a test says `pytest.importorskip("torch")` first.
"""

# pytorch-grad-cam, torch-cam and onnx2torch import torchvision, so the shim is imported first.
from . import torchvision_shim as torchvision_shim
