"""Differences between our maps and those of torch libraries, on the same weights; see `__main__`.

maps          maps from scores: Score-CAM and similar methods, occlusion, superpixels
gradcam       Grad-CAM and similar methods
gradients     gradients at and around a sample
metrics       metrics of maps
propagation   guided backpropagation, deconvnet, DeepLIFT and LRP
"""

# pytorch-grad-cam imports torchvision, so the shim is imported before all of these modules.
from tools.peers import torchvision_shim as torchvision_shim
