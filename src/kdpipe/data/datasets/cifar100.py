"""CIFAR-100: photographs of 32 x 32 pixels in a hundred fine classes, two pickled batches."""

from kdpipe.data.cards import DatasetCard, Download, KnownDataset

# In the order of the labels, as the file `meta` of the archive has them.
CLASS_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


def read_arrays(content: dict[str, bytes]) -> dict:
    """Return the arrays of the batches, with their fine labels."""
    from kdpipe.data.download import parse_cifar

    return parse_cifar(content)


def list_downloads() -> list[Download]:
    """Return the archive of the batches."""
    from torchvision.datasets import CIFAR100

    return [Download([CIFAR100.url], CIFAR100.filename, CIFAR100.tgz_md5)]


DATASET = KnownDataset(
    card=DatasetCard(
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
    read=read_arrays,
    downloads=list_downloads,
    class_names=tuple(CLASS_NAMES.split()),
)
