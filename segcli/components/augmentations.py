"""The augmentations a config may choose: a random crop with scale jitter and flip, then Albumentations' colours."""

import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from segcli.components.section import Section, choice

if TYPE_CHECKING:
    import albumentations

Positive = Annotated[float, Field(gt=0)]


class Light(Section):
    """Geometry only: scale jitter, random crop, horizontal flip."""

    name: Literal["light"] = "light"
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """smallest and largest factor by which an image is scaled before the crop"""
    hflip: float = Field(0.5, ge=0, le=1)
    """probability of a horizontal flip"""

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]} is larger than {self.scale[1]}; give the smaller first")
        return self

    def build(self) -> "albumentations.Compose | None":
        """Builds what changes the pixels' values after the crop; None where nothing does."""
        return None


class NoAugmentation(Light):
    """A random crop and nothing else."""

    aliases: ClassVar = ("false",)
    name: Literal["none"] = "none"  # type: ignore[assignment]
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    """smallest and largest factor by which an image is scaled before the crop"""
    hflip: float = Field(0.0, ge=0, le=1)
    """probability of a horizontal flip"""


class Medium(Light):
    """Light, and changes of brightness, contrast, saturation and hue, now and then blur or noise."""

    name: Literal["medium"] = "medium"  # type: ignore[assignment]
    colour: float = Field(0.5, ge=0, le=1)
    """probability of a change of colours"""
    blur: float = Field(0.1, ge=0, le=1)
    """probability of a Gaussian blur"""
    noise: float = Field(0.1, ge=0, le=1)
    """probability of Gaussian noise"""

    def build(self) -> "albumentations.Compose":
        """Builds what changes the pixels' values after the crop."""
        # Without this, the library asks a package index for its newest version while it is imported.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A

        steps: list[Any] = [
            A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=self.colour),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=self.blur),
            A.GaussNoise(std_range=(0.01, 0.05), p=self.noise),
        ]
        return A.Compose(steps)


AugmentationConfig = choice("augmentation", Light, NoAugmentation, Medium)
