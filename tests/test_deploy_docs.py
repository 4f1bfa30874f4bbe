"""The clients in docs/deploy.md, each run against a server that holds them to the servers' published protocols."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import draw_pair
from exported import write_exported
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"
Answer = Callable[[Any], Any]


def client(heading: str) -> str:
    """The Python under a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall("```python\n(.*?)```", section, re.DOTALL)
    return code


@contextmanager
def serving(path: str, answer: Answer) -> Iterator[int]:
    """Answers posts to a path with JSON, as TensorFlow Serving and Triton do; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == path and self.headers["Content-Type"] == "application/json"
            body = json.dumps(answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Where clients run: a photo and a model; gives the mask that they should write."""
    monkeypatch.chdir(tmp_path)
    image, mask = draw_pair(3)
    Image.fromarray(image).save("photo.jpg", quality=100, subsampling=0)
    write_exported(tmp_path / "model.onnx")
    return mask


def run(code: str) -> np.ndarray:
    """Runs a client; gives the mask that it wrote."""
    assert len(code.strip().splitlines()) <= 20
    exec(compile(code, "docs/deploy.md", "exec"), {})
    with Image.open("mask.png") as mask:
        return np.asarray(mask)


def logits(batch: Any) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession("model.onnx").run(None, {"image": np.asarray(batch, np.uint8)})[0])


def test_onnx_runtime(photo: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    assert np.array_equal(run(client("ONNX Runtime")), photo)
    assert capsys.readouterr().out.startswith("ground: ")


@pytest.mark.parametrize("as_labels", [True, False])
def test_tensorflow_serving(photo: np.ndarray, as_labels: bool) -> None:
    """Columns of tensors by name go in, and the only output comes back without a name (TensorFlow Serving, REST API)."""

    def answer(request: Any) -> Any:
        assert set(request) == {"inputs"} and set(request["inputs"]) == {"image"}
        batch = np.asarray(request["inputs"]["image"])
        assert batch.shape == (1, 40, 56, 3) and batch.min() >= 0 and batch.max() <= 255
        found = logits(batch.transpose(0, 3, 1, 2))
        return {"outputs": (found.argmax(1) if as_labels else found.transpose(0, 2, 3, 1)).tolist()}

    with serving("/v1/models/camvid:predict", answer) as port:
        assert np.array_equal(run(client("TensorFlow Serving").replace("8501", str(port))), photo)


@pytest.mark.parametrize("as_labels", [True, False])
def test_triton(photo: np.ndarray, as_labels: bool) -> None:
    """A tensor has name, shape, datatype and data in a row (the protocol KServe v2, which Triton speaks)."""

    def answer(request: Any) -> Any:
        assert set(request) <= {"id", "parameters", "inputs", "outputs"}
        (tensor,) = request["inputs"]
        assert set(tensor) == {"name", "shape", "datatype", "data"}
        assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("image", [1, 3, 40, 56], "UINT8")
        found = logits(np.reshape(tensor["data"], tensor["shape"]))
        name, datatype, found = ("labels", "UINT8", found.argmax(1)) if as_labels else ("logits", "FP32", found)
        output = {"name": name, "datatype": datatype, "shape": list(found.shape), "data": found.ravel().tolist()}
        return {"model_name": "camvid", "model_version": "1", "outputs": [output]}

    with serving("/v2/models/camvid/infer", answer) as port:
        assert np.array_equal(run(client("Triton").replace("8000", str(port))), photo)
