import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.kit.figures import shows
from transfer.class_figure import class_figure, ranked
from transfer.figure_colours import COUNT, DEUTERANOPIA, FIRST, colour, ink, oklab, palette
from transfer.figure_matching import Boxes, match
from transfer.figure_objects import Object, draw_objects
from transfer.figure_regions import draw_regions
from transfer.figure_sheet import WIDTH, Exhibit, Heading, begun, font, sheet, shortened


def boxes(corners, classes, crowd=None):
    crowd = [False] * len(classes) if crowd is None else crowd
    corners = np.array(corners, float).reshape(-1, 4)
    return Boxes(corners, np.array(classes, int), [{}] * len(classes), np.array(crowd, bool))


def test_oklab_is_that_of_its_paper():
    found = oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]]))
    expected = [[1, 0, 0], [0.628, 0.225, 0.126], [0.452, -0.032, -0.312], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_class_has_a_colour_of_its_own_that_never_changes():
    assert [colour(i) for i in range(len(FIRST))] == list(FIRST)
    assert len({tuple(one) for one in palette()}) == COUNT
    assert colour(COUNT + 3) == colour(3)


@pytest.mark.parametrize(("count", "least"), [(10, 0.09), (20, 0.08), (80, 0.04), (150, 0.03)])
def test_colours_are_told_apart_with_and_without_green_cones(count, least):
    for vision, factor in ((None, 1.0), (DEUTERANOPIA, 0.6)):
        seen = oklab(palette()[:count], vision)
        far = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert far[~np.eye(count, dtype=bool)].min() > factor * least


def test_text_is_read_on_its_colour():
    def luminance(tone):  # WCAG 2
        values = np.array(tone) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for tone in map(colour, range(COUNT)):
        light, dark = sorted((luminance(tone), luminance(ink(tone))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 3.0


def test_hits_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    truth, annotations, results = {}, [], []
    for image in range(1, 31):
        count = int(rng.integers(0, 8))
        corners = np.hstack([a := rng.uniform(0, 60, (count, 2)), a + rng.uniform(8, 40, a.shape)])
        truth[image] = boxes(corners, rng.integers(1, 4, count), rng.random(count) < 0.15)
        for corner, label, crowd in zip(
            corners, truth[image].classes, truth[image].crowd, strict=True
        ):
            box = [*corner[:2], *(corner[2:] - corner[:2])]
            about = {"image_id": image, "category_id": int(label), "bbox": box}
            number = len(annotations) + 1
            more = {"id": number, "iscrowd": int(crowd), "area": box[2] * box[3]}
            annotations.append(about | more)
            for _ in range(2):
                moved = [*np.add(box[:2], rng.normal(0, 4, 2)), *box[2:]]
                results.append(about | {"bbox": moved, "score": float(rng.random())})
    reference = COCO()
    reference.dataset = {
        "images": [{"id": image} for image in truth],
        "annotations": annotations,
        "categories": [{"id": i} for i in (1, 2, 3)],
    }
    reference.createIndex()
    scored = COCOeval(reference, reference.loadRes([dict(one) for one in results]), "bbox")
    scored.params.areaRng, scored.params.iouThrs = [[0, 1e10]], np.array([0.5])
    scored.evaluate()
    right, ignored = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for one in scored.evalImgs:
        if one is not None:
            skipped = one["dtIgnore"][0].astype(bool)
            right[one["image_id"]] += int(((one["dtMatches"][0] > 0) & ~skipped).sum())
            ignored[one["image_id"]] += int(skipped.sum())
    assert sum(right.values()) > 40
    assert sum(ignored.values()) > 5
    for image, objects in truth.items():
        mine = sorted(
            (one for one in results if one["image_id"] == image), key=lambda one: -one["score"]
        )
        corners = [[*one["bbox"][:2], *np.add(one["bbox"][:2], one["bbox"][2:])] for one in mine]
        found = match(objects, boxes(corners, [one["category_id"] for one in mine]))
        assert found.hits == right[image]
        assert found.ignored.sum() == ignored[image]
        assert found.errors == len(mine) - ignored[image] + (~objects.crowd).sum() - 2 * found.hits


@pytest.mark.parametrize(
    ("truth", "found", "f1"),
    [
        ([], [], 1.0),
        ([], [0], 0.0),
        ([0], [], 0.0),
        ([0], [0], 1.0),
        ([0], [1], 0.0),
        ([0], [0, 0], 2 / 3),
    ],
)
def test_f1_counts_an_object_once_and_an_empty_image_as_right(truth, found, f1):
    square = [10, 10, 20, 20]
    result = match(boxes([square] * len(truth), truth), boxes([square] * len(found), found))
    assert result.f1 == pytest.approx(f1)


def test_an_object_is_drawn_where_it_is_whole_or_dashed():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 40:120] = True
    image = Image.new("RGB", (200, 100), (0, 0, 0))
    colours = []
    for matched in (True, False):
        one = Object(2, "", "", (40, 20, 120, 60), mask, matched)
        picture = np.asarray(draw_objects(image, [one], (400, 200))).astype(int)
        assert np.abs(picture[100, 160] - 0.42 * np.array(colour(2))).max() < 2
        assert not picture[150:].any()
        assert not picture[:36, :].any(axis=-1)[:, 300:].any()
        colours.append({tuple(pixel) for pixel in picture[118, 84:236]})
    assert colours[0] == {colour(2)}
    assert colours[1] == {colour(2), (20, 20, 20)}


def test_names_do_not_cover_each_other_or_the_picture():
    image = Image.new("RGB", (300, 200), (0, 0, 0))
    crowd = [
        Object(i, f"class {i}", "0.50", (x, 100, x + 9, 110), None, True)
        for i, x in enumerate(range(0, 290, 5))
    ]
    named = np.asarray(draw_objects(image, crowd, (300, 200))).any(axis=-1)
    bare = [Object(o.index, "", "", o.box, None, True) for o in crowd]
    unnamed = np.asarray(draw_objects(image, bare, (300, 200))).any(axis=-1)
    assert 0.02 < (named & ~unnamed).mean() < 0.25


@pytest.mark.parametrize("box", [(-30, -30, -5, -5), (290, 190, 900, 900), (5, 5, 5, 5)])
def test_a_box_beyond_the_image_or_without_area_is_still_drawn(box):
    one = Object(0, "a very long name of a class, longer than the picture", "0.99", box, None, True)
    assert np.asarray(draw_objects(Image.new("RGB", (300, 200)), [one], (120, 80))).any()


def test_regions_have_their_colours_borders_and_hatching():
    labels = np.zeros((40, 60), int)
    labels[:, 30:] = 7
    labels[20:, :30] = 255
    pixels = np.asarray(draw_regions(labels, [""] * 150, (60, 40)))
    assert tuple(pixels[5, 5]) == colour(0)
    assert tuple(pixels[5, 45]) == colour(7)
    assert tuple(pixels[5, 29]) == (35, 35, 35)
    assert {tuple(one) for one in pixels[25:38, 5:25].reshape(-1, 3)} == {(150,) * 3, (225,) * 3}


def test_a_name_stands_inside_its_region_or_not_at_all():
    labels = np.zeros((100, 200), int)
    labels[:, 100:] = 1
    labels[:, 190:] = 2
    names = ["wide enough", "also", "too long for ten pixels"]
    plain = np.asarray(draw_regions(labels, ["", "", ""], (200, 100))).astype(int)
    written = np.asarray(draw_regions(labels, names, (200, 100))).astype(int)
    changed = (plain != written).any(axis=-1)
    assert changed[:, :98].any()
    assert changed[:, 101:189].any()
    assert not changed[:, 190:].any()
    assert not changed[:, 98:101].any()


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_without_a_class_is_refused(label):
    with pytest.raises(ValueError, match="it must be 0 to 2, or 255"):
        draw_regions(np.array([[0, label]]), ["a", "b", "c"], (2, 1))


@pytest.mark.parametrize("sides", [[(640, 480)] * 6, [(60, 900)], [(4000, 100), (30, 40), (9, 9)]])
def test_a_sheet_holds_every_panel_within_its_width(sides):
    asked = []

    def paint(size):
        asked.append(size)
        return [Image.new("RGB", size, "red"), Image.new("RGB", size, "lime")]

    found = sheet(
        Heading("Title", "Rule"), [Exhibit(side, ("a", "b"), paint) for side in sides], 220
    )
    pixels = np.asarray(found).reshape(-1, 3)
    assert found.width == WIDTH + 20
    area = sum(width * height for width, height in asked)
    assert (pixels == (255, 0, 0)).all(axis=1).sum() == area
    assert (pixels == (0, 255, 0)).all(axis=1).sum() == area
    for (width, height), side in zip(asked, sides, strict=True):
        assert width / height == pytest.approx(side[0] / side[1], rel=0.1)


def test_long_texts_are_cut_to_their_room():
    text = "an extraordinarily long name of a category in somebody's data"
    for cut in (shortened, begun):
        assert cut("short", 13, 200) == "short"
        assert font(13).getlength(cut(text, 13, 100)) <= 100
    assert shortened(text, 13, 100)[-3:] == text[-3:]
    assert begun(text, 13, 100)[:5] == text[:5]


def test_classes_are_ranked_and_those_that_do_not_occur_come_last():
    per_class = {"b": 1.0, "gone": None, "a": 99.0, "zero": 0.0}
    assert ranked(per_class) == [("a", 99.0), ("b", 1.0), ("zero", 0.0), ("gone", None)]


@pytest.mark.parametrize("count", [1, 80])
def test_classes_are_drawn_whatever_their_number_and_names(tmp_path, count):
    names = [
        "$5 note_{x",
        "комод",
        *(f"an extraordinarily long class name {i}" for i in range(count)),
    ]
    per_class = {name: None if i == 1 else float(i) for i, name in enumerate(names)}
    for name in ("a.png", "b.png"):
        class_figure(tmp_path / "figures" / name, "box AP", per_class)
    a, b = (tmp_path / "figures" / name for name in ("a.png", "b.png"))
    assert a.read_bytes() == b.read_bytes()
    assert f"each of the {count + 2} classes, best first; 1 of them do not occur" in shows(a)


def test_no_class_at_all_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no classes"):
        class_figure(tmp_path / "a.png", "IoU", {})
