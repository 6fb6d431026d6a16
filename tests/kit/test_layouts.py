import shutil

import pytest
from shifted_sets import make_shifted

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.fingerprints import counted, fingerprint, known_counts
from mae_bench.kit.layouts import SHIFTED, ade_class_names, check
from mae_bench.kit.scene_files import make_demo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts") / "demo"
    make_demo(
        root, DemoData(num_train_images=8, num_val_images=8, num_train_scenes=8, num_val_scenes=8)
    )
    return root


@pytest.fixture
def roots(made, tmp_path):
    shutil.copytree(made, tmp_path / "demo")
    return demo_roots(tmp_path / "demo")


def test_a_missing_root_is_named_with_the_next_step(tmp_path):
    assert "set data.coco in site.toml or pass --coco DIR" in check("coco", None)[0]
    (problem,) = check("imagenet", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in problem
    assert "train/<class>" in problem


def test_a_missing_split_an_empty_class_and_a_class_of_one_split_are_found(roots):
    root = roots["imagenet"]
    next((root / "train" / "n00000001").iterdir()).unlink()
    shutil.rmtree(root / "val" / "n00000002")
    problems = " ".join(check("imagenet", root))
    assert "1 empty class folders: n00000001" in problems
    assert "train has 8 classes and val 7" in problems
    shutil.rmtree(root / "val")
    assert f"no folder {root / 'val'}" in " ".join(check("imagenet", root))


def test_missing_annotation_files_and_folders_are_found(roots):
    root = roots["coco"]
    path = root / "annotations" / "instances_val2017.json"
    path.rename(path.with_name("instances_val.json"))
    assert f"no folder {root / 'val'}" in " ".join(check("coco", root))
    (root / "val2017").rename(root / "val")
    assert check("coco", root) == []
    (root / "annotations" / "instances_val.json").unlink()
    assert f"no file {path}" in " ".join(check("coco", root))


def test_images_without_label_maps_are_found(roots):
    root = roots["ade20k"]
    next((root / "annotations" / "training").iterdir()).unlink()
    (root / "objectInfo150.txt").unlink()
    problems = " ".join(check("ade20k", root))
    assert "training has 8 images and 7 label maps" in problems
    assert "objectInfo150.txt" in problems


def test_images_and_classes_are_counted_beside_the_fingerprint(roots, tmp_path):
    cache = tmp_path / "cache.json"
    assert known_counts(cache) == {}
    found = {name: fingerprint(name, roots[name], cache) for name in ("imagenet", "coco", "ade20k")}
    eight = {"images": 8, "val_images": 8}
    expected = {"imagenet": {**eight, "classes": 8}, "coco": eight, "ade20k": eight}
    assert known_counts(cache) == {found[name]: counts for name, counts in expected.items()}
    next((roots["imagenet"] / "train" / "n00000001").iterdir()).unlink()
    later = fingerprint("imagenet", roots["imagenet"], cache)
    assert known_counts(cache)[later] == {"images": 7, "val_images": 8, "classes": 7}
    cache.write_text("[")
    assert known_counts(cache) == {}


def test_what_has_no_file_for_each_image_is_not_counted():
    assert counted("imagenet", ["train/shard-00000.tar", "val/shard-00000.tar"]) == {}
    assert counted("imagenet", ["train/n01/a.jpg"]) == {}
    assert counted("voc", ["VOC2012/JPEGImages/a.jpg"]) == {}


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(made, roots, tmp_path):
    cache = tmp_path / "cache.json"
    for name in ("imagenet", "coco", "ade20k"):
        root = roots[name]
        first = fingerprint(name, root, cache)
        assert fingerprint(name, demo_roots(made)[name], tmp_path / "other.json") == first
        assert fingerprint(name, root, cache) == first
        victim = next(p for p in root.rglob("*") if p.suffix in (".JPEG", ".jpg"))
        victim.rename(victim.with_name("renamed.jpg"))
        assert fingerprint(name, root, cache) != first


@pytest.mark.parametrize("where", ["train/loop", "val/a/loop"])
def test_a_link_to_itself_is_named(tmp_path, where):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "1.JPEG").write_bytes(b"1")
    (tmp_path / where).symlink_to(tmp_path / where)
    with pytest.raises(ValueError, match=f"{where} cannot be followed"):
        fingerprint("imagenet", tmp_path, tmp_path / "cache.json")


def test_a_link_to_a_folder_above_is_named(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "up").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"up links to a folder that it lies in"):
        fingerprint("imagenet", tmp_path, tmp_path / "cache.json")


@pytest.fixture
def shifted(tmp_path):
    return make_shifted(tmp_path / "shifted", ("ant", "bee"), sets=SHIFTED)


def test_the_shifted_sets_are_whole_as_their_archives_are(shifted):
    (shifted / "imagenet-a" / "README.txt").write_text("about")
    assert check("imagenet_robustness", shifted) == []


def test_only_the_shifted_sets_that_are_needed_are_checked(shifted):
    shutil.rmtree(shifted / "imagenet-r")
    assert check("imagenet_robustness", shifted, ("imagenet-a", "sketch")) == []
    (problem,) = check("imagenet_robustness", shifted)
    assert f"no folder {shifted / 'imagenet-r'}; it needs imagenet-c/<corruption>" in problem
    assert "pass --imagenet-robustness DIR" in check("imagenet_robustness", None)[0]


def test_missing_corruptions_and_odd_classes_of_shifted_sets_are_found(shifted):
    shutil.rmtree(shifted / "imagenet-c" / "fog")
    shutil.rmtree(shifted / "imagenet-c" / "snow" / "2" / "bee")
    next((shifted / "sketch" / "ant").iterdir()).unlink()
    shutil.rmtree(shifted / "imagenet-a" / "ant")
    shutil.rmtree(shifted / "imagenet-a" / "bee")
    problems = " ".join(check("imagenet_robustness", shifted))
    assert problems.count("no folder") == 5
    assert "imagenet-c/fog/5" in problems
    assert "snow/2 has 1 classes, expected the 2 of the parts before it" in problems
    assert "sketch has 1 empty class folders: ant" in problems
    assert "imagenet-a has no class folders" in problems


def test_the_fingerprint_of_shifted_sets_sees_every_image(shifted, tmp_path):
    cache = tmp_path / "cache.json"
    found = [fingerprint("imagenet_robustness", shifted, cache)]
    for name in ("imagenet-c/pixelate/5/ant", "imagenet-a/bee"):
        victim = next((shifted / name).iterdir())
        victim.rename(victim.with_name("renamed.JPEG"))
        found.append(fingerprint("imagenet_robustness", shifted, cache))
    assert len(set(found)) == 3
    assert fingerprint("imagenet_robustness", shifted, tmp_path / "other.json") == found[-1]


def test_the_classes_of_label_maps_are_the_table_or_a_list_of_names(roots):
    root = roots["ade20k"]
    assert ade_class_names(root)[:2] == ["ball", "box"]
    (root / "objectInfo150.txt").unlink()
    (root / "classes.txt").write_text("road\nbuilding \n\n")
    assert ade_class_names(root) == ["road", "building"]
    assert check("ade20k", root) == []
    (root / "classes.txt").write_text("road\nroad\n")
    assert "each once, got twice road" in " ".join(check("ade20k", root))
    (root / "classes.txt").write_text("")
    with pytest.raises(ValueError, match=r"classes\.txt must have a class name on each line"):
        ade_class_names(root)
    (root / "objectInfo150.txt").write_text("")
    with pytest.raises(ValueError, match="with a Name column, got ''"):
        ade_class_names(root)


def test_a_short_row_of_the_class_table_is_named(tmp_path):
    path = tmp_path / "objectInfo150.txt"
    path.write_text("Idx\tRatio\tName\n1\t0.1\twall\n2\t0.1\n")
    with pytest.raises(ValueError, match=r"objectInfo150.txt, line 3: 2 columns"):
        ade_class_names(tmp_path)
