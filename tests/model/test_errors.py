"""The error tree: one base catches all that the package raises on purpose."""

import inspect

from model import errors


def test_every_error_stands_in_the_tree_and_has_the_base() -> None:
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    }
    assert len(found) > 4
    for name, kind in found.items():
        assert issubclass(kind, errors.ModelError)
        assert name in (errors.__doc__ or ""), f"{name} is not drawn in the tree"
