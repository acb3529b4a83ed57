"""ImageNet's class identifiers."""


def wnids() -> list[str]:
    """ImageNet-1K's 1000 wnids in the order of its classes, as timm has them."""
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())
