"""CIFAR-10: photographs of 32 x 32 pixels in ten classes, six pickled batches in one archive."""

from kdpipe.data.cards import DatasetCard, Download, KnownDataset


def read_arrays(content: dict[str, bytes]) -> dict:
    """Return the arrays of the batches."""
    from kdpipe.data.download import parse_cifar

    return parse_cifar(content)


def list_downloads() -> list[Download]:
    """Return the archive of the batches."""
    from torchvision.datasets import CIFAR10

    return [Download([CIFAR10.url], CIFAR10.filename, CIFAR10.tgz_md5)]


DATASET = KnownDataset(
    card=DatasetCard(
        name="cifar10",
        title="CIFAR-10",
        source="cifar-10-python.tar.gz of www.cs.toronto.edu/~kriz (Krizhevsky 2009)",
        shape=(3, 32, 32),
        classes=10,
        train=50000,
        test=10000,
        sha256="0d0d27f60b43e020f2e2b2cad3b89d20eaf6d7b4859db6a08d94d1f60378d3ec",
        files={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
    revision=1,
    files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
    read=read_arrays,
    downloads=list_downloads,
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
)
