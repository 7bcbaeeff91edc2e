"""ImageNet: 1.3 million photographs, streamed from their files.

They are indexed in the class folders to which torchvision extracts the published archives.
"""

import re
from pathlib import Path

from kdpipe.data.cards import DatasetCard, KnownDataset
from kdpipe.errors import DataError

WORDNET_ID = re.compile(r"n[0-9]{8}")  # the name of a class (WordNet ID)
TAR_NAMES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def index_folder(card: DatasetCard, path: Path) -> dict:
    """Return the file index of the folder; raise DataError if it does not match the card."""
    from kdpipe.data import cache
    from kdpipe.data.imagefolder import class_folders

    _check_unpacked(card, path)
    listing = class_folders.list_images(path)  # its val is the test set
    arrays = cache.build_index(path, listing.files, listing.labels, card.shape)
    class_folders.raise_errors(_find_mismatches(card, path, listing.files, arrays), path)
    return arrays


def _check_unpacked(card: DatasetCard, path: Path) -> None:
    """Raise DataError with instructions to extract the published archives to class folders."""
    for part, tar in zip(("train", "val"), TAR_NAMES, strict=True):
        loose = (path / part).is_dir() and not any(p.is_dir() for p in (path / part).iterdir())
        if (path / part).is_dir() and not loose:
            continue
        if (path / tar).is_file():
            instead = "remove that folder, then run " if loose else ""
            raise DataError(
                f"data set {card.name}: {path / part} has no class folders, but {tar} exists. "
                "Extract it once with torchvision (which needs the devkit's tar in the same folder "
                f'and compares MD5 sums; 140 GB for train): {instead}python -c "from '
                f"torchvision.datasets import ImageNet; ImageNet('{path}', '{part}')\""
            )
        raise DataError(
            f"data set {card.name}: {path / part} has no class folders; expected "
            f"{path}/train/n01440764/*.JPEG and {path}/val/n01440764/*.JPEG, or the published "
            f"{' and '.join(TAR_NAMES)}, which torchvision.datasets.ImageNet extracts"
        )


def _find_mismatches(
    card: DatasetCard, path: Path, files: dict[str, list[Path]], arrays: dict
) -> list[str]:
    """Return the mismatches between the folder and the card."""
    errors = []
    for part, count in (("train", card.train), ("test", card.test)):
        actual = len(arrays[f"{part}_labels"])
        if actual != count:
            folder = path / ("train" if part == "train" else "val")
            errors.append(f"{folder} has {actual:,} images, expected {count:,}")
    classes = sorted({file.relative_to(path).parts[1] for file in files["train"]})
    if len(classes) != card.classes:
        errors.append(f"{path / 'train'} has {len(classes):,} classes, expected {card.classes:,}")
    odd = [name for name in classes if not WORDNET_ID.fullmatch(name)]
    if odd:
        errors.append(f"{path / 'train' / odd[0]} is not a class name such as n01440764")
    (empty,) = (arrays["train_sizes"] == 0).nonzero()
    return errors + [f"{files['train'][index]} is empty" for index in empty]


DATASET = KnownDataset(
    card=DatasetCard(
        name="imagenet",
        title="ImageNet",
        source="ILSVRC-2012 of image-net.org (Russakovsky et al. 2015)",
        shape=(3, 224, 224),
        classes=1000,
        train=1281167,
        test=50000,
        sha256="bf532c1fe36ad4c0e0b7209a07981969a12fd606e1efaff7533726cc474207f4",
        files={
            "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
            "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
            "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
        },
        made={"stream": 224},
    ),
    revision=1,
    index_folder=index_folder,
)
