import pytest
from foreign_case import saved, timm_vit


@pytest.fixture
def plain(tmp_path):
    """Return a function: changes to timm's state dict -> the file with them."""

    def write(name="m.pth", **changes):
        return saved(tmp_path / name, timm_vit().state_dict() | changes).path

    return write
