"""What Hydra cannot take apart is told with what it can."""

import shlex

import pytest

from harness.cli.hydra_errors import explain


@pytest.mark.parametrize("folder", ["/srv/modèles à moi/дом", "/srv/a[1], b"])
def test_a_value_that_cannot_be_read_is_shown_as_it_can_be(folder: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    parser = OverridesParser.create()
    with pytest.raises(OverrideParseException) as caught:
        parser.parse_overrides([f"model.target={folder}"])
    (_, example) = explain(caught.value).rsplit(": ", 1)
    (argument,) = shlex.split(example)
    (override,) = parser.parse_overrides([argument])
    assert override.value() == folder
