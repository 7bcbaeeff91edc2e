"""Writes folders of small pictures, cut out of photographs of scikit-image and scikit-learn.

images/train/CLASS and images/test/CLASS: of six photographs, training pictures out of their left
three fifths, test pictures out of the right two, so no pixel is in both. more: training pictures
that have no label. before/CLASS: pictures of the same that a teacher was trained on, when there
were labels. textures/CLASS: bricks, grass, gravel, which a small network was trained on.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from skimage import data
from sklearn.datasets import load_sample_image

SIDE = 64
EDGE = 0.6  # of a photograph's width


def cut(photograph: np.ndarray, left: float, right: float, rng: np.random.Generator) -> Image.Image:
    """A square out of a part of a photograph: turned, and more or less pale."""
    height, width = photograph.shape[:2]
    side = int(rng.integers(40, 96))
    x = int(rng.integers(left * width, right * width - side))
    y = int(rng.integers(0, height - side))
    picture = Image.fromarray(photograph[y : y + side, x : x + side]).convert("RGB")
    picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture = picture.rotate(90 * int(rng.integers(4)))
    return ImageEnhance.Color(picture).enhance(float(rng.uniform(0, 0.4)))


def write(folder: Path, photograph: np.ndarray, part: tuple, count: int, rng, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cut(photograph, *part, rng).save(folder / f"{name}{number:03}.jpg", quality=90)


def main() -> None:
    rng = np.random.default_rng(0)
    photographs = {
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "flower": load_sample_image("flower.jpg"),
        "rocket": data.rocket(),
        "stars": data.hubble_deep_field(),
        "temple": load_sample_image("china.jpg"),
    }
    for name, photograph in photographs.items():
        write(Path("images/train") / name, photograph, (0, EDGE), 40, rng, "")
        write(Path("images/test") / name, photograph, (EDGE, 1), 60, rng, "")
        write(Path("more"), photograph, (0, EDGE), 80, rng, f"{rng.integers(10**6)}-")
        write(Path("before") / name, photograph, (0, EDGE), 150, rng, "")
    for name in ("brick", "grass", "gravel"):
        write(Path("textures") / name, getattr(data, name)(), (0, 1), 100, rng, "")
    print("images, more, before, textures: pictures of 64 x 64")


if __name__ == "__main__":
    main()
