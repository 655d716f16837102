"""Names of the vocabulary, of which some are loaded when they are first used."""

from __future__ import annotations

import pytest

from nnw_onnx import plugins, vocabulary


def test_every_name_is_there_and_listed() -> None:
    assert dir(vocabulary) == sorted(vocabulary.__all__)
    assert all(getattr(vocabulary, name) is not None for name in vocabulary.__all__)
    with pytest.raises(AttributeError, match="'nnw_onnx.vocabulary' has no attribute 'Nothing'"):
        vocabulary.Nothing  # noqa: B018


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_the_base_of_a_group_is_of_the_vocabulary(group: str) -> None:
    base = plugins.base(group)
    assert getattr(vocabulary, base.__name__) is base
    assert all(issubclass(plugins.load(base, name), base) for name in plugins.names(group)[:3])
