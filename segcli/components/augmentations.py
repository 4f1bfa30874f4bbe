"""The augmentations a config may choose: a random crop with scale jitter and flip, then Albumentations' colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from segcli.components.section import Section, choice
from segcli.components.transforms import Entry, albumentations_library, build_transforms
from segcli.errors import ConfigError, did_you_mean
from segcli.task import Colour, Task

if TYPE_CHECKING:
    import albumentations

Positive = Annotated[float, Field(gt=0)]


class Light(Section):
    """Geometry only: scale jitter, random crop, flips."""

    name: Literal["light"] = "light"
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """smallest and largest factor by which an image is scaled before the crop"""
    scale_base: Literal["image", "val"] = "image"
    """what `scale` is a factor of: the image as it is, or as `val.image_size` brings it to the network, which evens out
    images of different sizes"""
    hflip: float = Field(0.5, ge=0, le=1)
    """probability of a horizontal flip"""
    vflip: float = Field(0.0, ge=0, le=1)
    """probability of a flip from top to bottom"""
    max_class_share: float = Field(1.0, gt=0, le=1)
    """a crop in which one class takes more than this share of the pixels that count is drawn again, at most ten times;
    then the one with the smallest share serves"""
    copy_paste: float = Field(0.0, ge=0, le=1)
    """probability that pixels of some classes are copied from a crop of another image over this one (Ghiasi et al.
    2021)"""
    copy_paste_classes: Literal["rare"] | tuple[str, ...] = "rare"
    """their names; rare: those that cover less than 1/(2C) of the training pixels, which is half of what each of C
    classes would cover if all were equal"""

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]} is larger than {self.scale[1]}; give the smaller first")
        return self

    def pasted_classes(self, task: Task, class_share: Sequence[float]) -> tuple[int, ...]:
        """The indices of the classes that copy-paste takes.

        Args:
            task: the classes.
            class_share: each one's share of the training pixels.

        Raises:
            ConfigError: if there is no class of a name.
        """
        if self.copy_paste_classes == "rare":
            limit = 1 / (2 * task.num_classes)
            return tuple(index for index, share in enumerate(class_share) if share < limit)
        for name in self.copy_paste_classes:
            if name not in task.classes:
                hint = did_you_mean(name, task.classes)
                raise ConfigError(f"augmentation.copy_paste_classes: unknown class {name!r}; {hint}")
        return tuple(task.classes.index(name) for name in self.copy_paste_classes)

    def build(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> "albumentations.Compose | None":
        """Builds what changes a crop and its mask behind scale, place and flip; None where nothing does.

        Args:
            fill: colour of what is turned in from outside.
            ignore_index: mask value there.
            size: height and width of the crops; only square ones may be turned by 90 degrees.

        Raises:
            ConfigError: if a transform of an explicit list cannot be used.
        """
        steps = self.steps(fill, ignore_index, size)
        return albumentations_library().Compose(steps) if steps else None

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        return []


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

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        library = albumentations_library()
        return [
            library.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=self.colour),
            library.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=self.blur),
            library.GaussNoise(std_range=(0.01, 0.05), p=self.noise),
        ]


class Strong(Medium):
    """Medium, oftener and harder, with small turns and shears, changes of gamma and JPEG's traces: for few images."""

    name: Literal["strong"] = "strong"  # type: ignore[assignment]
    colour: float = Field(0.8, ge=0, le=1)
    """probability of a change of colours"""
    turn: float = Field(0.5, ge=0, le=1)
    """probability of a turn by up to 15 degrees with a shear by up to 8"""

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        library = albumentations_library()
        return [
            _affine(fill, ignore_index, rotate=15, shear=8, p=self.turn),
            *super().steps(fill, ignore_index, size),
            library.RandomGamma((70, 140), p=0.3),
            library.ImageCompression(quality_range=(50, 95), p=0.2),
        ]


class Road(Medium):
    """For cameras on the road: changes of light, shadows and motion blur; what is up stays up."""

    name: Literal["road"] = "road"  # type: ignore[assignment]
    shadow: float = Field(0.2, ge=0, le=1)
    """probability of a cast shadow"""
    motion: float = Field(0.1, ge=0, le=1)
    """probability of motion blur"""

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        library = albumentations_library()
        return [
            library.RandomGamma((60, 150), p=0.3),
            library.RandomShadow(p=self.shadow),
            *super().steps(fill, ignore_index, size),
            library.MotionBlur(blur_limit=(3, 7), p=self.motion),
        ]


class Aerial(Medium):
    """For pictures from above, where no side is up: all turns and flips of a square crop, and changes of light."""

    name: Literal["aerial"] = "aerial"  # type: ignore[assignment]

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        library = albumentations_library()
        turns = [library.RandomRotate90(p=1.0)] if size[0] == size[1] else [library.VerticalFlip(p=0.5)]
        return [*turns, library.RandomGamma((80, 125), p=0.3), *super().steps(fill, ignore_index, size)]


class Medical(Light):
    """For scans and microscopes: small turns, elastic changes of shape, contrast and noise; colours stay."""

    name: Literal["medical"] = "medical"  # type: ignore[assignment]
    scale: tuple[Positive, Positive] = (0.75, 1.5)
    """smallest and largest factor by which an image is scaled before the crop"""
    turn: float = Field(0.5, ge=0, le=1)
    """probability of a turn by up to 15 degrees"""
    elastic: float = Field(0.3, ge=0, le=1)
    """probability of an elastic change of shape"""
    contrast: float = Field(0.5, ge=0, le=1)
    """probability of a change of brightness and contrast"""

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        library = albumentations_library()
        return [
            _affine(fill, ignore_index, rotate=15, shear=0, p=self.turn),
            library.ElasticTransform(
                alpha=40, sigma=8, fill=fill, fill_mask=ignore_index, border_mode=_CONSTANT, p=self.elastic
            ),
            library.RandomBrightnessContrast(0.2, 0.2, p=self.contrast),
            library.RandomGamma((70, 140), p=0.3),
            library.GaussNoise(std_range=(0.01, 0.05), p=0.2),
        ]


class Custom(Light):
    """Transforms of Albumentations one by one; a bare list under `augmentation` is short for its `transforms`."""

    name: Literal["custom"] = "custom"  # type: ignore[assignment]
    transforms: tuple[Entry, ...] = ()
    """what is done to a crop, in this order: `[{name: Rotate, limit: 15, p: 0.5}, {name: OneOf, transforms: […]}]`,
    each with its own parameters. Where `fill` and `fill_mask` are left out, what comes from outside is ignored"""

    def steps(self, fill: Colour, ignore_index: int, size: tuple[int, int]) -> list[Any]:
        """The transforms that `build` composes."""
        return build_transforms(self.transforms, fill, ignore_index, size)


_CONSTANT = 0
"""OpenCV's border mode that fills with a constant."""


def _affine(fill: Colour, ignore_index: int, rotate: float, shear: float, p: float) -> Any:
    """A turn about the middle; masks are not smoothed, and what comes from outside is ignored."""
    return albumentations_library().Affine(
        rotate=(-rotate, rotate), shear=(-shear, shear), fill=fill, fill_mask=ignore_index, border_mode=_CONSTANT,
        mask_interpolation=0, p=p,
    )  # fmt: skip


def _from_list(value: Any) -> Any:
    """A bare list is short for custom's transforms."""
    return {"name": "custom", "transforms": value} if isinstance(value, list | tuple) else value


def _or_list(kinds: Any) -> Any:
    return Annotated[kinds, BeforeValidator(_from_list)]


AugmentationConfig = _or_list(
    choice("augmentation", Light, NoAugmentation, Medium, Strong, Road, Aerial, Medical, Custom)
)
