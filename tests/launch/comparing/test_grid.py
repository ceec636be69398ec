"""The flags of each run of a comparison."""

import pytest
from absl import flags

from launch.comparing import grid
from tests.launch.commands import defined


def test_what_a_task_says_of_adapters_and_heads_is_for_methods_that_have_them(tmp_path):
    own = "--modules=fc1\n--adapter_dropout=0.1\n--head_learning_rate=0.5\n"
    (tmp_path / "easy.flags").write_text(f"--task=digits\n{own}")
    with defined("compare"):
        flags.FLAGS(["compare"])

        def read(*arguments):
            config = grid._read(flags.FLAGS, str(tmp_path / "easy.flags"), [*arguments])
            return config.modules, config.adapter_dropout, config.head_learning_rate

        assert read("--method=lora", "--rank=1") == ("fc1", 0.1, 0.5)
        assert read("--method=head") == (None, 0.0, None)
        assert read("--method=full") == (None, 0.0, None)
        with pytest.raises(ValueError, match="--head_learning_rate is for heads"):
            read("--method=head", "--head_learning_rate=0.1")
