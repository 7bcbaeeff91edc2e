"""What somebody has before kdpipe: two files of weights, trained with PyTorch alone.

Both on pictures of 64 x 64, normalised by ImageNet's mean and std. teacher.pt: on many of the same
kind, when there were labels. student.pt: on textures, with a classifier for these.
"""

import nets
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def train(network: torch.nn.Module, folder: str, epochs: int, name: str) -> None:
    steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    pictures = ImageFolder(folder, transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(epochs):
        for x, y in DataLoader(pictures, 50, shuffle=True):
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimiser.step()
    torch.save(network.state_dict(), name)
    print(f"{name}: {epochs} epochs on {len(pictures)} pictures of {folder}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train(nets.teacher(6, 3), "before", 15, "teacher.pt")
    train(nets.student(3, 3), "textures", 5, "student.pt")
