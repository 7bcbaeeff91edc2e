"""Networks of one's own: a teacher of torchvision, and a student that is small enough to ship."""

import itertools

import torchvision
from torch import nn


def teacher(num_classes, in_channels):
    return torchvision.models.shufflenet_v2_x0_5(num_classes=num_classes)


def student(num_classes, in_channels):
    widths = [in_channels, 12, 24, 48]
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes)
    )
