"""SVHN: house numbers from photographs, cropped to 32 x 32 pixels around one digit."""

from kdpipe.data.cards import DatasetCard, Download, KnownDataset


def read_arrays(content: dict[str, bytes]) -> dict:
    """Return the arrays of the .mat files: X (32, 32, 3, N), y (N, 1) with 10 for the digit 0."""
    import io

    import numpy as np
    from scipy.io import loadmat

    arrays = {}
    for part in ("train", "test"):
        matrices = loadmat(io.BytesIO(content[f"{part}_32x32.mat"]), variable_names=["X", "y"])
        images = np.asarray(matrices["X"], np.uint8).transpose(3, 2, 0, 1)
        arrays[f"{part}_images"] = np.ascontiguousarray(images)
        arrays[f"{part}_labels"] = matrices["y"].astype(np.int64).reshape(-1) % 10
    return arrays


def list_downloads() -> list[Download]:
    """Return train and test, without `extra`."""
    from torchvision.datasets import SVHN

    parts = (SVHN.split_list[part] for part in ("train", "test"))
    return [Download([address], name, md5) for address, name, md5 in parts]


DATASET = KnownDataset(
    card=DatasetCard(
        name="svhn",
        title="Street View House Numbers",
        source="the cropped 32x32 digits of ufldl.stanford.edu/housenumbers (Netzer et al. 2011), "
        "train and test without extra",
        shape=(3, 32, 32),
        classes=10,
        train=73257,
        test=26032,
        sha256="7277ef7766bb1f21dd071cf1039f680a792f73d0f09919991643ddc13df8eb08",
        files={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
    revision=1,
    files=("train_32x32.mat", "test_32x32.mat"),
    read=read_arrays,
    downloads=list_downloads,
)
