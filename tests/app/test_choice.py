import shutil

import pytest

from raincleave import load
from raincleave.app.choice import Models
from raincleave.errors import CheckpointError


def test_each_is_loaded_once_and_its_stages_counted(weights):
    loaded = []

    def note(ref):
        loaded.append(ref)
        return load(ref)

    three, two = str(weights / "three.safetensors"), str(weights / "two.safetensors")
    models = Models([three, two, three], note)
    assert models.names == ["three.safetensors", "two.safetensors"]
    assert loaded == []
    assert models.stages("two.safetensors") == 2
    assert models.stages("three.safetensors") == 3
    assert models.get("three.safetensors") is models.get("three.safetensors")
    assert loaded == [two, three]


def test_two_files_of_one_name_are_told_apart(weights, tmp_path):
    file = weights / "two.safetensors"
    copy = shutil.copy(file, tmp_path)
    models = Models([str(file), str(copy), "drn-7x7"], load)
    assert models.names == [str(file), str(copy), "drn-7x7"]


def test_what_cannot_be_loaded_is_told_when_it_is_asked_for():
    models = Models(["nothing"], load)
    with pytest.raises(CheckpointError, match="there is no model 'nothing'"):
        models.get("nothing")
