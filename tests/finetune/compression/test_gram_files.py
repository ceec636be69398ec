"""Second moments on disk."""

import numpy as np
import pytest

from finetune.compression import gram_files


def test_names_may_have_parts_in_front(tmp_path):
    grams = {"bert.layer.1.up": np.eye(2), "bert.layer.1.down": 2 * np.eye(3, dtype=np.float32)}
    gram_files.write(tmp_path / "grams.safetensors", grams)
    names = ["layer.1.up", "model.bert.layer.1.down", "bert.layer.1.up"]
    read = gram_files.read(tmp_path / "grams.safetensors", names)
    assert list(read) == names
    np.testing.assert_array_equal(read["layer.1.up"], np.eye(2))
    np.testing.assert_array_equal(read["model.bert.layer.1.down"], 2 * np.eye(3))
    for lacking in ("1.u", "layer.2.up"):
        with pytest.raises(ValueError, match=f"no matrix for {lacking}; allowed is a file of"):
            gram_files.read(tmp_path / "grams.safetensors", [lacking])


def test_a_name_of_two_is_none(tmp_path):
    gram_files.write(tmp_path / "g.safetensors", {"a.q": np.eye(2), "b.q": np.eye(2)})
    with pytest.raises(ValueError, match="no matrix for q and 1 more"):
        gram_files.read(tmp_path / "g.safetensors", ["q", "k"])


def test_another_file_is_refused(tmp_path):
    (tmp_path / "g.safetensors").write_text("{}")
    with pytest.raises(ValueError, match="not a safetensors file"):
        gram_files.read(tmp_path / "g.safetensors", ["q"])
