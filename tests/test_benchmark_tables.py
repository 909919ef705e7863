"""The benchmarks' page says what the records say."""

from benchmarks import tables


def test_the_page_is_what_the_records_give():
    assert tables.PAGE.read_text() == tables.page(), "run `python -m benchmarks.tables`"
