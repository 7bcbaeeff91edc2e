"""MNIST: handwritten digits of 28 x 28 pixels, four IDX files."""

from kdpipe.data.cards import DatasetCard, Download, KnownDataset


def read_arrays(content: dict[str, bytes]) -> dict:
    """Return the arrays of the four files."""
    from kdpipe.data.download import parse_idx

    return parse_idx(content)


def list_downloads() -> list[Download]:
    """Return the four files, at each of torchvision's mirrors."""
    from torchvision.datasets import MNIST

    return [
        Download([mirror + name for mirror in MNIST.mirrors], name, md5)
        for name, md5 in MNIST.resources
    ]


DATASET = KnownDataset(
    card=DatasetCard(
        name="mnist",
        title="MNIST",
        source="the IDX files of yann.lecun.com (LeCun, Cortes, Burges)",
        shape=(1, 28, 28),
        classes=10,
        train=60000,
        test=10000,
        sha256="abfb73956f56cb749effa3b227a846119153de09349bf4fb70e37b784b73ff04",
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    revision=1,
    files=(
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ),
    read=read_arrays,
    downloads=list_downloads,
)
