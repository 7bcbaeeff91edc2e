"""Fashion-MNIST: clothes in the format of MNIST, also available as a Debian package."""

from kdpipe.data.cards import DatasetCard, Download, KnownDataset


def read_arrays(content: dict[str, bytes]) -> dict:
    """Return the arrays of the four files."""
    from kdpipe.data.download import parse_idx

    return parse_idx(content)


def list_downloads() -> list[Download]:
    """Return the four files, at each of torchvision's mirrors."""
    from torchvision.datasets import FashionMNIST

    return [
        Download([mirror + name for mirror in FashionMNIST.mirrors], name, md5)
        for name, md5 in FashionMNIST.resources
    ]


DATASET = KnownDataset(
    card=DatasetCard(
        name="fashion-mnist",
        title="Fashion-MNIST",
        source="the IDX files of github.com/zalandoresearch/fashion-mnist "
        "(Xiao, Rasul, Vollgraf 2017)",
        shape=(1, 28, 28),
        classes=10,
        train=60000,
        test=10000,
        sha256="25d63adedab3cf97aaf9b3a3b9e7dddb1b57e8ee6f3ed5d2bc84639133fefd83",
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
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)
