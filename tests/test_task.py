from segcli.task import Task, voc_palette


def test_the_palette_is_the_published_one_of_voc() -> None:
    assert voc_palette(256)[:9] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
        (64, 0, 0),
    ]  # fmt: skip
    assert voc_palette(256)[20] == (0, 64, 128)
    assert voc_palette(256)[255] == (224, 224, 192)
    assert len(set(voc_palette(256))) == 256


def test_a_task_survives_json() -> None:
    task = Task.of(["a", "b"], ignore_index=9)
    assert Task.from_json(task.to_json()) == task
    assert task.num_head_channels == 1
    assert Task.of(["a", "b", "c"]).num_head_channels == 3
