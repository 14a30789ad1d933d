"""The image trunk of `mien-lite`: timm's own residual network, sized for 48-pixel faces on a CPU.

Importing this module registers `mien_lite_seresnet` with timm, so that an open_clip config can name
it as `timm_model_name` and open_clip's own factory can build it.
"""

from typing import Any

import torch
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

TRUNK_NAME = "mien_lite_seresnet"
IMAGE_SIZE_PX = 48


class CentredResNet(ResNet):
    """A residual network that standardises its input, image by image, and its last features.

    The first makes it blind to brightness and contrast. The second helps to train: features
    after a ReLU all lie in one narrow cone, where cosines say little and contrastive training
    starts slowly.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.maxpool = nn.Identity()
        self.standardise = nn.InstanceNorm2d(self.in_chans, eps=0.01)
        self.centre = nn.BatchNorm2d(int(self.num_features), affine=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.centre(super().forward_features(self.standardise(x)))


@register_model
def mien_lite_seresnet(
    pretrained: bool = False,
    pretrained_cfg: dict | None = None,
    pretrained_cfg_overlay: dict | None = None,
    cache_dir: str | None = None,
    num_classes: int = 1000,
    global_pool: str = "avg",
    drop_path_rate: float = 0.0,
) -> ResNet:
    """Build the trunk: (N, 3, 48, 48) float -> 384 features, about 116 M multiply-adds an image.

    The stem halves the image once and the max pool is left out, so the stages see 24, 12, 6 and
    3 px. Channel counts are multiples of 32, which AVX-512 kernels like. Squeeze and excitation
    (Hu et al. 2018) costs 2 % of the time.

    Raises:
        ValueError: `pretrained` asks for weights that do not exist outside a mien-lite folder.
    """
    if pretrained:
        raise ValueError(f"{TRUNK_NAME} has no weights of its own: load a mien-lite folder")
    trunk: Any = CentredResNet(
        block=BasicBlock,
        layers=(1, 2, 2, 1),
        channels=(32, 96, 192, 384),
        stem_type="deep",
        stem_width=16,
        avg_down=True,
        num_classes=num_classes,
        global_pool=global_pool,
        drop_path_rate=drop_path_rate,
        block_args={"attn_layer": "se"},
    )
    trunk.default_cfg = {
        "input_size": (3, IMAGE_SIZE_PX, IMAGE_SIZE_PX),
        "pool_size": (3, 3),
        "classifier": "fc",
    }
    return trunk
