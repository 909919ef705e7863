"""Files of JSON: whole, strict, and a line for each thing."""

import json
import math
from pathlib import Path

import pytest

from optax_ltd.experiments.training.json_files import json_text, read_json, write_json


@pytest.mark.parametrize("contents", ["[1]", "{", "3"])
def test_a_file_must_hold_an_object(contents: str, tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text(contents)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_json(path)
    with pytest.raises(ValueError, match="must be a file that can be read"):
        read_json(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    with pytest.raises(IsADirectoryError):
        write_json(tmp_path, {})
    assert not tmp_path.with_name(tmp_path.name + ".new").exists()


def test_fields_and_rows_have_lines_of_their_own():
    values = {"a": {"b": 1, "c": [1, 2]}, "rows": [{"x": 1.5}, {"x": None}], "no": []}
    text = json_text(values)
    assert json.loads(text) == values
    assert text.splitlines() == [
        "{",
        '  "a": {',
        '    "b": 1,',
        '    "c": [1, 2]',
        "  },",
        '  "rows": [',
        '    {"x": 1.5},',
        '    {"x": null}',
        "  ],",
        '  "no": []',
        "}",
    ]


@pytest.mark.parametrize("value", [{"a": math.nan}, [{"a": math.inf}], [-math.inf]])
def test_what_json_has_no_word_for_is_refused(value: object):
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text(value)
