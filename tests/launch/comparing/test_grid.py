"""The flags of each run of a comparison."""

import pytest
from absl import flags

from launch.comparing import grid
from tests.launch.commands import command, defined


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method=lora\n", "'method=lora' is no flag; allowed are lines --NAME=VALUE"),
        ("--rank=3\n", "mine.flags names no method; it needs a line --method=NAME"),
        ("", "mine.flags names no method"),
    ],
)
def test_a_file_that_names_no_method_is_none(tmp_path, capsys, text, message):
    (tmp_path / "mine.flags").write_text(text)
    (tmp_path / "easy.flags").write_text("--task=digits\n")
    given = [f"--tasks={tmp_path}/easy.flags", f"--methods={tmp_path}/mine.flags", "--seeds=0"]
    assert command("compare", *given, f"--workdir={tmp_path}/runs") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
