"""What the command line offers to choose from, as plain names, so that help and completion import nothing heavy.

A test holds these lists against what the names stand for.
"""

LAYOUTS = (
    "ade20k", "camvid", "cityscapes", "coco", "coco_stuff", "cvat", "darwin", "folder", "labelme", "shapes", "voc",
)  # fmt: skip
OPEN_LAYOUTS = ("coco", "cvat", "darwin", "folder", "labelme")
VARIANTS = ("auto", "standard", "augmented", "fine", "coarse", "classes", "supercategories", "instances", "panoptic")
SPLITS = ("train", "val", "test")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
POLICIES = ("none", "flip", "scales", "scales-flip", "d4")
KINDS = (
    "architectures", "encoders", "weights", "losses", "optimizers", "schedulers", "augmentations", "layouts", "recipes",
    "targets", "runs",
)  # fmt: skip
TARGETS = ("onnx", "openvino", "torch", "tflite", "savedmodel")
DOMAINS = ("generic", "road", "aerial", "medical", "document")
