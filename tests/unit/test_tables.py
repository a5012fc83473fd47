"""Tables of block types in shaders."""

import pytest
from vkrun.runtime.ir.dtypes import DType
from vkrun.shaders import tables


@pytest.mark.parametrize("define", list(tables.TYPES))
def test_the_room_of_a_table_is_its_length(define: str) -> None:
    name = tables.TYPES[define]
    *lists, length = tables.macros(((define, ""), ("WIDE", "")))
    words = ",".join(words for _, words in lists).split(",")
    assert [int(word.removesuffix("u")) for word in words] == tables.grid_words(name).tolist()
    assert all(words.count(",") < tables.LONGEST for _, words in lists)
    assert length == ("GRID_LENGTH", f"{tables.shared_nbytes(DType[name]) // 4}u")


def test_other_types_have_none() -> None:
    assert tables.macros((("TYPE_Q4_0", ""),)) == () == tables.digest((("TYPE_IQ4_XS", ""),))
    assert tables.digest((("TYPE_IQ3_S", ""),)) != ()
