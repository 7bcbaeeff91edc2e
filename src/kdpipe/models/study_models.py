"""The networks that a study can name: known by the form of their names, or custom.

Imports no torch: of a custom network it knows what its card states. One without a card can be
named; its cost and spec are not known.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.models import registry
from kdpipe.models.config import CustomModelConfig, InitFrom
from kdpipe.models.custom import card as network_card
from kdpipe.models.custom.card import ModelInfo
from kdpipe.models.family import DEFAULT_SHAPE, Cost, Shape
from kdpipe.models.pretrained import input_transform, weights_info
from kdpipe.models.pretrained.input_transform import DataShape, InputSpec, InputSpecs, ModelInput
from kdpipe.runs.spec import ModelSpec
from kdpipe.text import did_you_mean, join_names


@dataclass(frozen=True)
class StudyModels:
    """The networks for images of one shape.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of the images; the usual ones if they are not known.
    classes : int
        Number of classes.
    custom : dict of str to ModelInfo or None
        Cards of the custom networks; None where one has none.
    adapted : mapping of str to tuple
        Of networks whose weights have an input of their own, by the names that the study gives
        them: input, network, and the networks for that input.
    starts : mapping of str to InitFrom
        Networks that begin from weights.
    """

    shape: Shape = DEFAULT_SHAPE
    classes: int = 0
    custom: dict[str, ModelInfo | None] = field(default_factory=dict)
    adapted: "Mapping[str, tuple[InputSpec, str, StudyModels]]" = field(default_factory=dict)
    starts: Mapping[str, InitFrom] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        """Return whether a study can name this network."""
        return name in self.starts or name in self.custom or registry.is_model_name(str(name))

    def resolve_name(self, name: str) -> str:
        """Return the name of the network that is built: the one of a start, or the name itself."""
        return self.starts[name].network if name in self.starts else name

    def check(self, name: str) -> None:
        """Raise KdpipeError unless the network exists and takes the images."""
        if name in self.adapted:
            _, network, adapted_models = self.adapted[name]
            return adapted_models.check(network)
        name = self.resolve_name(name)
        if name in self.custom:
            return
        try:
            registry.check_shape(name, self.shape)
        except KdpipeError as error:
            custom_names = [*self.custom, *self.starts]
            if not custom_names or registry.is_model_name(name):
                raise
            names = f"{join_names(custom_names)}{did_you_mean(name, custom_names)}"
            raise KdpipeError(f"{error}; of one's own: {names}") from None

    def cost(self, name: str) -> Cost:
        """Return the exact cost of classifying one image."""
        if name in self.adapted:
            _, network, adapted_models = self.adapted[name]
            return adapted_models.cost(network)
        name = self.resolve_name(name)
        if name not in self.custom:
            return registry.compute_cost(name, self.shape, self.classes)
        card = self._require_card(name)
        return Cost(card.parameters, card.multiply_adds)

    def stage_shapes(self, name: str) -> list[Shape] | None:
        """Return the output shape of each group; None if it is not known."""
        if name in self.adapted:
            _, network, adapted_models = self.adapted[name]
            return adapted_models.stage_shapes(network)
        name = self.resolve_name(name)
        if name not in self.custom:
            return registry.compute_stage_shapes(name, self.shape)
        card = self.custom[name]
        return list(card.groups) if card else None

    def min_batch_size(self, name: str) -> int:
        """Return the smallest batch that a network learns from, as far as is known.

        Batch normalization of what is 1 x 1 needs two images.
        """
        if name in self.adapted:
            _, network, adapted_models = self.adapted[name]
            return adapted_models.min_batch_size(network)
        name = self.resolve_name(name)
        if name in self.custom:
            card = self.custom[name]
            return card.fewest if card else 1
        try:
            shapes = registry.compute_stage_shapes(name, self.shape)
        except KdpipeError:  # reported by `check`
            return 1
        return 2 if shapes and shapes[-1][1:] == (1, 1) else 1

    def is_linear(self, name: str) -> bool:
        """Return whether a network ends in a linear classifier, as far as is known."""
        if name in self.adapted:
            _, network, adapted_models = self.adapted[name]
            return adapted_models.is_linear(network)
        name = self.resolve_name(name)
        if name in self.custom:
            card = self.custom[name]
            return card is None or card.linear
        return registry.has_linear_head(name)

    def spec(self, name: str) -> ModelSpec:
        """Return the `network` of a run's spec.

        Raises
        ------
        KdpipeError
            If a custom network has no card.
        """
        if name in self.starts:
            init = weights_info.build_init_spec(self.starts[name])
            return replace(self._build_spec_without_init(name), name=name, start=init)
        return self._build_spec_without_init(name)

    def _build_spec_without_init(self, name: str) -> ModelSpec:
        """Return the `network` of a spec without the weights that it starts from."""
        if name in self.adapted:
            input_spec, network, adapted_models = self.adapted[name]
            return replace(
                adapted_models.spec(network),
                classes=self.classes,
                channels=self.shape[0],
                input=input_spec.spec(),
            )
        name = self.resolve_name(name)
        if name in self.custom:
            return self._require_card(name).spec()
        return ModelSpec(
            name=name,
            revision=registry.get_revision(name),
            classes=self.classes,
            channels=self.shape[0],
        )

    def _require_card(self, name: str) -> ModelInfo:
        card = self.custom[name]
        if card is None:
            raise KdpipeError(f"networks.{name}: it has no card")
        return card


def load_study_models(
    custom: Mapping[str, CustomModelConfig],
    code: str | None,
    data: DataShape,
    input_specs: InputSpecs,
    used_names: Collection[str],
    starts: Mapping[str, InitFrom],
) -> StudyModels:
    """Load the networks of a study, with the cards of custom ones.

    Parameters
    ----------
    custom : mapping of str to CustomModelConfig
        The custom networks.
    code : str or None
        Folder of their code and cards.
    data : DataShape
        Images and classes of the study.
    input_specs : InputSpecs
        Inputs of pretrained networks.
    used_names : collection of str
        Networks that see the study's images.
    starts : mapping of str to InitFrom
        Networks that begin from weights.

    Raises
    ------
    KdpipeError
        If a custom network has no card.
    """
    folder = Path(code or "")
    cards: dict[ModelInput, ModelInfo | None] = {
        model_input: network_card.load_card(
            folder,
            model_input.name,
            custom[model_input.name],
            model_input.shape,
            model_input.classes,
            "STUDY",
        )
        for model_input in input_transform.list_custom_inputs(custom, input_specs, used_names, data)
    }
    return build_study_models(cards, data.shape, data.classes, input_specs, starts)


def load_cards(
    custom: Mapping[str, CustomModelConfig],
    folder: Path,
    model_inputs: Iterable[ModelInput],
    study: str,
) -> dict[ModelInput, ModelInfo | KdpipeError | None]:
    """Load the card of each input of the custom networks, or what is wrong with it."""
    cards: dict[ModelInput, ModelInfo | KdpipeError | None] = {}
    for model_input in model_inputs:
        try:
            images = model_input.shape, model_input.classes
            cards[model_input] = network_card.load_card(
                folder, model_input.name, custom[model_input.name], *images, study
            )
        except KdpipeError as error:
            cards[model_input] = error
    return cards


def build_study_models(
    cards: Mapping[ModelInput, ModelInfo | None],
    shape: Shape,
    classes: int,
    input_specs: InputSpecs,
    starts: Mapping[str, InitFrom],
) -> StudyModels:
    """Return the networks of a study with these cards; None where a network has none."""

    def select_cards(shape: Shape, classes: int) -> dict[str, ModelInfo | None]:
        matching = {
            model_input: card
            for model_input, card in cards.items()
            if model_input[1:] == (shape, classes)
        }
        return {model_input.name: card for model_input, card in matching.items()}

    adapted = {
        label: (input_spec, network, StudyModels(*images, select_cards(*images)))
        for label, (input_spec, network) in input_specs.items()
        for images in [(input_spec.shape, input_spec.classes)]
    }
    return StudyModels(shape, classes, select_cards(shape, classes), adapted, starts)
