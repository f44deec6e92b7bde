"""How far our maps are from those of torch libraries, on the same weights; see `__main__`.

maps          maps from scores: Score-CAM and its kin, occlusion, superpixels
gradcam       Grad-CAM and its kin
gradients     gradients at and around a sample
propagation   guided backpropagation, deconvnet, DeepLIFT and LRP
"""

# pytorch-grad-cam imports torchvision, so the shim goes before all of these modules.
from tools.peers import torchvision_shim as torchvision_shim
