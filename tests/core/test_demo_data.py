import dataclasses

import pytest

from mae_bench.core.demo_data import DemoData


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_train_images", 7, "DemoData.num_train_images must be >= 8, got 7"),
        ("num_val_scenes", 0, "DemoData.num_val_scenes must be >= 8, got 0"),
        ("image_side", 31, "DemoData.image_side must be >= 32 pixels, got 31"),
        ("scene_side", -1, "DemoData.scene_side must be >= 32 pixels, got -1"),
    ],
)
def test_a_size_out_of_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match="DemoData") as error:
        DemoData(**{field: value})
    assert str(error.value) == message


def test_every_field_changes_the_key():
    keys = {DemoData().key}
    for field in dataclasses.fields(DemoData):
        value = getattr(DemoData(), field.name) + 1
        keys.add(dataclasses.replace(DemoData(), **{field.name: value}).key)
    assert len(keys) == 1 + len(dataclasses.fields(DemoData))
