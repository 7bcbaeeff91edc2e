"""CIFAR-100: photographs of 32x32 pixels in a hundred fine classes, two pickled batches."""

from kdpipe.data.cards import Card, DataSet, Download


def read(content: dict[str, bytes]) -> dict:
    """The arrays in the batches, with their fine labels."""
    from kdpipe.data.readers import cifar

    return cifar(content)


def downloads() -> list[Download]:
    """The archive that holds the batches."""
    from torchvision.datasets import CIFAR100

    return [Download([CIFAR100.url], CIFAR100.filename, CIFAR100.tgz_md5)]


SET = DataSet(
    card=Card(
        name="cifar100",
        title="CIFAR-100",
        source="cifar-100-python.tar.gz of www.cs.toronto.edu/~kriz (Krizhevsky 2009)",
        shape=(3, 32, 32),
        classes=100,
        train=50000,
        test=10000,
        sha256="167d4ff73c3b24e788ce394bd51b6b42f9c2e12a6d35d360dbe71b47ed0de140",
        files={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    ),
    revision=1,
    files=("train", "test"),
    read=read,
    downloads=downloads,
)
