"""Tests of finding the package's recipes by name, from any folder."""

import pytest

from bertgrow import cli
from bertgrow.core.errors import InputError
from bertgrow.recipes import installed, load


@pytest.mark.parametrize("given", ["bert_base:smoke", "bert_base.py:smoke"])
def test_a_name_is_enough_in_any_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load.read(given, ["--config.batch=8"]).batch == 8


def test_a_file_comes_before_a_recipe_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.py").touch()

    assert installed.locate("demo.py:own") == ("demo.py", "demo.py:own")
    assert installed.locate("demo:grow")[0] == str(installed.folder() / "demo.py")


def test_a_name_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="'bert_bse'.* not a file, nor .*'bert_base'"):
        installed.locate("bert_bse:smoke")


def test_a_config_without_a_recipe_is_answered_in_one_line(capsys):
    assert cli.main(["plan", "--config"]) == 2

    expected = "bertgrow: argument --config: expected one argument; see bertgrow plan --help\n"
    assert capsys.readouterr().err == expected
