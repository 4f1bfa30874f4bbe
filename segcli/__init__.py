"""segcli: semantic segmentation from one YAML file, from images and masks to a deployed model."""

__version__ = "0.1.0"
