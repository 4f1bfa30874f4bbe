"""Processes that are asked by pipes, here by scripts that only pretend to be a runtime."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segcli.engine.backends.isolated_file import open_in
from segcli.engine.isolated import inside_messages
from segcli.engine.isolated.worker import Worker, WorkerError
from segcli.errors import ModelError
from segcli.io.card import Contract, ModelCard
from segcli.task import Task

CARD = ModelCard(Task.of("ab"), "Unet", "resnet18", None, (0, 0, 0), (1, 1, 1))

TASKS = f"""
import os, sys
sys.path.insert(0, {str(Path(inside_messages.__file__).parent)!r})
import numpy as np
from inside_messages import answer

def open_(question, buffers, tell):
    question["file"]
    return {{}}, ()

def run(question, buffers, tell):
    # Two logits: the red channel, and its negative.
    shape = question["shape"]
    images = np.frombuffer(buffers[0], np.uint8).reshape(shape).astype(np.float32)
    axis = 3 if shape[-1] == 3 else 1
    red = images.take([0], axis)
    logits = np.concatenate([red, -red], axis)
    return {{"shape": logits.shape, "dtype": "<f4"}}, [logits]

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

answer(dict(echo=echo, fail=fail, end=end, kill=kill, lack=lack, open=open_, run=run))
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


@pytest.mark.parametrize(("layout", "batch"), [("nhwc", 1), ("nchw", None)])
def test_a_file_in_another_process_gives_logits(layout: str, batch: int | None, script: Path) -> None:
    card = replace(CARD, contract=Contract(layout, size=(4, 6), batch=batch))
    file = open_in(Worker(Path(sys.executable), script), {"file": "m"}, Path("m"), card)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    red = images[..., 0].astype(np.float32)
    assert np.array_equal(file(images), np.stack([red, -red], axis=1))


def test_a_file_that_does_not_open_is_named(script: Path) -> None:
    with pytest.raises(ModelError, match="^m.tflite cannot be opened: KeyError: 'file'$"):
        open_in(Worker(Path(sys.executable), script), {}, Path("m.tflite"), CARD)
