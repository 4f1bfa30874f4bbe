"""Processes that are asked by pipes, here by scripts that only pretend to be a runtime."""

import sys
from pathlib import Path

import numpy as np
import pytest

from segcli.engine.backends.worker import WorkerBackend
from segcli.engine.isolated import inside_messages
from segcli.engine.isolated.worker import Worker, WorkerError
from segcli.errors import ModelError
from segcli.io.card import ModelCard
from segcli.task import Task

TASKS = f"""
import os, sys
sys.path.insert(0, {str(Path(inside_messages.__file__).parent)!r})
import numpy as np
from inside_messages import answer

class Runner:
    def open(self, question, buffers, tell):
        self.shape = question["shape"]
        size = [side for side in self.shape[1:] if side != 3]
        output = [-1, *size, 2] if self.shape[-1] == 3 else [-1, 2, *size]
        return {{"input": self.shape, "output": output, "dtype": "<f4"}}, ()

    def run(self, question, buffers, tell):
        # Two logits: the red channel, and its negative.
        images = np.frombuffer(buffers[0], np.uint8).reshape(-1, *self.shape[1:]).astype(np.float32)
        axis = 3 if self.shape[-1] == 3 else 1
        red = images.take([0], axis)
        return {{}}, [np.concatenate([red, -red], axis)]

def echo(question, buffers, tell):
    print("a library that prints")
    tell("thinking")
    return {{"said": question["say"]}}, buffers

def fail(question, buffers, tell):
    raise ValueError("it\\ncannot")

def end(question, buffers, tell):
    print("out of luck", file=sys.stderr)
    os._exit(3)

def kill(question, buffers, tell):
    os.kill(os.getpid(), 9)

def lack(question, buffers, tell):
    import a_package_that_is_not_there

runner = Runner()
answer(dict(echo=echo, fail=fail, end=end, kill=kill, lack=lack, open=runner.open, run=runner.run))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "tasks.py"
    path.write_text(TASKS)
    return path


def test_questions_arrays_and_news_go_both_ways(script: Path) -> None:
    worker = Worker(Path(sys.executable), script)
    told: list[str] = []
    large = np.arange(1_000_000, dtype=np.uint16)  # more than a pipe holds
    for word in ("one", "two"):
        message, (back, empty) = worker.ask({"task": "echo", "say": word}, [large, b""], told.append)
        assert message == {"said": word}
        assert np.array_equal(np.frombuffer(back, np.uint16), large)
        assert len(empty) == 0
    assert told == ["thinking", "thinking"]
    worker.close()


def test_a_failure_is_one_line_and_the_process_goes_on(script: Path) -> None:
    discarded: list[bool] = []
    worker = Worker(Path(sys.executable), script, lambda: discarded.append(True))
    with pytest.raises(WorkerError, match="^ValueError: it cannot$"):
        worker.ask({"task": "fail"})
    assert discarded == []
    with pytest.raises(WorkerError, match=r"environment is damaged \(.*a_package.*run the command again"):
        worker.ask({"task": "lack"})
    assert discarded == [True]
    with pytest.raises(WorkerError, match="^out of luck$"):
        worker.ask({"task": "end"})
    worker = Worker(Path(sys.executable), script)
    with pytest.raises(WorkerError, match="was killed, most likely since memory ran out"):
        worker.ask({"task": "kill"})


@pytest.mark.parametrize("shape", [[1, 4, 6, 3], [-1, 4, 6, 3], [1, 3, 4, 6], [-1, 3, 4, 6]])
def test_a_backend_gives_logits_of_any_layout_and_number_of_images(shape: list[int], script: Path) -> None:
    card = ModelCard(Task.of("ab"), "Unet", "resnet18", None, (0, 0, 0), (1, 1, 1))
    backend = WorkerBackend(Worker(Path(sys.executable), script), {"shape": shape}, Path("m"), card)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    logits = backend(images)
    assert backend.size == (4, 6)
    assert np.array_equal(logits, np.stack([images[..., 0], -images[..., 0].astype(np.float32)], axis=1))


def test_a_file_that_does_not_open_is_named(script: Path) -> None:
    card = ModelCard(Task.of("ab"), "Unet", "resnet18", None, (0, 0, 0), (1, 1, 1))
    with pytest.raises(ModelError, match="^m.tflite cannot be opened: KeyError: 'shape'$"):
        WorkerBackend(Worker(Path(sys.executable), script), {}, Path("m.tflite"), card)
