import jax.numpy as jnp

from micromacro.cases.file import load_case


def test_template_is_a_valid_case(micromacro, tmp_path):
    answer = micromacro("new", tmp_path / "mine")
    assert answer.code == 0
    assert "micromacro run" in answer.out
    case = load_case(tmp_path / "mine" / "case.toml")
    assert case.system.potential(jnp.ones(2)) == 1.5
    assert set(case.close.basins) == {"left", "right"}


def test_nothing_is_overwritten(micromacro, tmp_path):
    (tmp_path / "system.py").write_text("mine")
    answer = micromacro("new", tmp_path)
    assert answer.code == 2
    assert "system.py" in answer.err
    assert (tmp_path / "system.py").read_text() == "mine"
    assert not (tmp_path / "case.toml").exists()
