import numpy as np
import pytest

from segcli.components.transforms import albumentations_library, build_transforms
from segcli.errors import ConfigError

FILL = (10, 20, 30)


def build(*entries: object, size: tuple[int, int] = (32, 48), ignore_index: int = 255) -> list[object]:
    return build_transforms(entries, FILL, ignore_index, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "HorisontalFlip"}, "[0]: unknown transform 'HorisontalFlip'; did you mean HorizontalFlip?"),
        ({"name": "CenterCrop3D"}, "[0]: unknown transform 'CenterCrop3D'; did you mean CenterCrop?"),
        ({"name": "GaussNoise", "std_rang": 1}, "[0] (GaussNoise): unknown parameter 'std_rang'; did you mean std_range?"),
        ({"name": "OneOf", "transform": []}, "[0] (OneOf): unknown parameter 'transform'; did you mean transforms?"),
        ({"name": "GaussNoise", "std_range": [0.1, 2]}, "[0] (GaussNoise): std_range: all values in (0.1, 2.0) must be >= 0 and <= 1"),
        ({"name": "RandomRotate90", "p": "often"}, "[0] (RandomRotate90): p: input should be a valid number, unable to parse string as a number"),
        ({"name": "Affine", "rotate": "far"}, "[0] (Affine): rotate: input should be a valid tuple or input should be a valid number, unable to parse string as a number"),
        ({"name": "CropAndPad"}, "[0] (CropAndPad): both px and percent parameters cannot be None simultaneously."),
        ({"name": "OneOf", "transforms": [{"name": "Blur"}, {"name": "GaussNois"}]}, "[0].transforms[1]: unknown transform 'GaussNois'; did you mean GaussNoise?"),
        ({"name": "OneOf", "transforms": [7]}, "[0].transforms[0]: expected a transform, such as {name: HorizontalFlip, p: 0.5}, not 7"),
        ({"name": "OneOf"}, "[0] (OneOf): transforms: expected a list of transforms"),
        ({"name": "OneOf", "transforms": ["Blur"], "p": 2}, "[0] (OneOf): p: expected a probability from 0 to 1, not 2"),
        ({"name": "SomeOf", "transforms": ["Blur"], "n": 2}, "[0] (SomeOf): n: expected a number from 1 to 1, not 2"),
        ({"name": "Transpose"}, "[0] (Transpose): it changes the size of a crop (32×48 to 48×32)"),
        ({"name": "RandomRotate90"}, "[0] (RandomRotate90): it changes the size of a crop (32×48 to 48×32)"),
        ({"name": "RandomCrop", "height": 16, "width": 16}, "[0] (RandomCrop): it changes the size of a crop (32×48 to 16×16)"),
        ({"name": "Rotate", "mask_interpolation": 1}, "[0] (Rotate): it mixes the values of the mask, which are class indices; leave out mask_interpolation"),
        ({"name": "Normalize"}, "[0] (Normalize): it makes float32 of the image's uint8; leave it out, the network takes crops as they are and normalises inside"),
        ({"name": "ToTensorV2"}, "[0] (ToTensorV2): it makes torch.uint8 of the image's uint8; leave it out, the network takes crops as they are and normalises inside"),
        ({"name": "FDA"}, "[0] (FDA): FDA requires ['fda_metadata'] missing keys: {'fda_metadata'}"),
        ({"name": "BBoxSafeRandomCrop"}, "[0] (BBoxSafeRandomCrop): it needs 'bboxes', which a crop does not have"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_wrong_entry_is_told_in_one_line(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(entry)
    assert str(caught.value) == f"augmentation.transforms{message}"


def test_what_keeps_the_size_of_this_crop_is_taken() -> None:
    assert len(build({"name": "Transpose"}, {"name": "RandomRotate90"}, size=(32, 32))) == 2
    assert len(build({"name": "RandomResizedCrop", "size": [32, 48]})) == 1
    assert (
        len(build({"name": "SomeOf", "n": 2, "transforms": ["Blur", {"name": "OneOf", "transforms": ["Sharpen"]}]}))
        == 1
    )


@pytest.mark.parametrize("ignore_index", [255, 65535])
@pytest.mark.parametrize(
    "entry",
    [
        {"name": "Affine", "translate_px": {"x": 20, "y": 0}, "p": 1.0}, {"name": "Pad", "padding": 0, "p": 1.0},
        {"name": "Rotate", "limit": [45, 45], "p": 1.0}, {"name": "Perspective", "scale": [0.2, 0.2], "p": 1.0},
        {"name": "ElasticTransform", "alpha": 300, "p": 1.0}, {"name": "GridDistortion", "p": 1.0},
        {"name": "ThinPlateSpline", "p": 1.0}, {"name": "SafeRotate", "limit": [45, 45], "p": 1.0},
        {"name": "ShiftScaleRotate", "p": 1.0}, {"name": "OpticalDistortion", "distort_limit": [-0.9, -0.9], "p": 1.0},
    ],
    ids=lambda entry: entry["name"] if isinstance(entry, dict) else "",
)  # fmt: skip
def test_what_comes_from_outside_is_ignored_and_of_the_mean_colour(entry: dict[str, object], ignore_index: int) -> None:
    """The image holds 200 only: what is neither that nor a mixture with the fill was never inside."""
    compose = albumentations_library().Compose(build(entry, ignore_index=ignore_index))
    compose.set_random_seed(1)
    mask = np.ones((32, 48), np.uint8 if ignore_index == 255 else np.float32)
    varied = compose(image=np.full((32, 48, 3), 200, np.uint8), mask=mask)
    outside = varied["mask"] == ignore_index
    assert ((varied["mask"] == 1) | outside).all()
    assert (np.abs(varied["image"][outside].astype(int) - FILL).mean() if outside.any() else 0) < 60
    assert varied["image"][..., 0].min() >= 10


def test_a_given_fill_stays_and_a_dropout_keeps_the_mask() -> None:
    affine, rotate, dropout = build(
        {"name": "Affine", "fill": 7, "fill_mask": 0}, {"name": "Rotate", "fill_mask": [0]}, {"name": "CoarseDropout"}
    )
    assert (affine.fill, affine.fill_mask) == (7, 0)
    assert (rotate.fill, list(rotate.fill_mask)) == (FILL, [0])
    assert dropout.fill_mask is None
