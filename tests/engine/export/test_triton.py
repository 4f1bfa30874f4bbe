from pathlib import Path
from typing import Any

import pytest
from exported import write_exported
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from segcli.engine.export.triton import write_repository
from segcli.errors import ModelError, UsageError

# Names, numbers and types of the fields in use, as triton-inference-server/common has them in model_config.proto.
ENUM = {"TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_UINT16": 3, "TYPE_FP16": 10, "TYPE_FP32": 11}
SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "Tensor": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "int64*")},
    "DynamicBatching": {"preferred_batch_size": (1, "int32*"), "max_queue_delay_microseconds": (2, "uint64")},
    "Sample": {"data_type": (1, "DataType"), "dims": (2, "int64*"), "random_data": (4, "bool")},
    "Entry": {"key": (1, "string"), "value": (2, "Sample")},
    "Warmup": {"name": (1, "string"), "batch_size": (2, "uint32"), "inputs": (3, "Entry*")},
    "Config": {
        "name": (1, "string"), "platform": (2, "string"), "max_batch_size": (4, "int32"), "input": (5, "Tensor*"),
        "output": (6, "Tensor*"), "dynamic_batching": (11, "DynamicBatching"), "model_warmup": (16, "Warmup*"),
        "backend": (17, "string"),
    },
}  # fmt: skip


def parse(text: str) -> Any:
    """Reads a configuration by the recorded schema; an unknown field, or a value of another type, is an error."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="recorded.proto", package="recorded", syntax="proto3")
    types = file.enum_type.add(name="DataType")
    for name, number in {"TYPE_INVALID": 0, **ENUM}.items():
        types.value.add(name=name, number=number)
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            added = message.field.add(name=field, number=number, label=label)
            if kind in {"DataType", *SCHEMA}:
                added.type = kinds.TYPE_ENUM if kind == "DataType" else kinds.TYPE_MESSAGE
                added.type_name = f".recorded.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("recorded.Config"))
    return text_format.Parse(text, config())


def test_a_file_becomes_a_model_that_batches_what_arrives_together(tmp_path: Path) -> None:
    file = write_exported(tmp_path / "m.onnx")
    folder = write_repository(file, tmp_path / "models", "colours")
    assert folder == tmp_path / "models" / "colours"
    assert (folder / "1" / "model.onnx").read_bytes() == file.read_bytes()
    config = parse((folder / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("colours", "onnxruntime", 8)
    (image,), (logits,) = config.input, config.output
    assert (image.name, image.data_type, list(image.dims)) == ("image", ENUM["TYPE_UINT8"], [3, -1, -1])
    assert (logits.name, logits.data_type, list(logits.dims)) == ("logits", ENUM["TYPE_FP32"], [3, -1, -1])
    assert config.HasField("dynamic_batching")
    ((sample,),) = [warm_up.inputs for warm_up in config.model_warmup]
    assert sample.key == "image" and all(side > 0 for side in sample.value.dims)


def test_a_file_of_one_batch_is_not_batched(tmp_path: Path) -> None:
    folder = write_repository(write_exported(tmp_path / "m.onnx", batch=1), tmp_path, "one")
    config = parse((folder / "config.pbtxt").read_text())
    assert config.max_batch_size == 0 and not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 3, -1, -1]


def test_what_cannot_be_a_model_leaves_the_older_one(tmp_path: Path) -> None:
    file = write_exported(tmp_path / "m.onnx")
    folder = write_repository(file, tmp_path, "model")
    before = (folder / "config.pbtxt").read_text()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ModelError, match="damaged"):
        write_repository(file, tmp_path, "model")
    with pytest.raises(UsageError, match="cannot be the name of a model"):
        write_repository(file, tmp_path, "a/b")
    assert (folder / "config.pbtxt").read_text() == before
