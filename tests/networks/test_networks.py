"""Networks: sizes of the published architectures, image sizes, seeds, and the absence of any state."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snnguard as sg
from snnguard.errors import InvalidInput, InvalidRecipe, RequestError
from snnguard.layers import TDBN, ConvexCombination, Sum
from snnguard.networks import Network, SpikingClassifier, build, construct, names
from snnguard.neurons import LIF, Neuron, Triangle, neurons_of, nlif

SMALL = {"vgg4-tiny": (1, 8, 8), "vgg5-slim": (3, 16, 16)}
HALVINGS = {"vgg5": 2, "vgg11": 3, "vgg13": 5, "vgg16": 5, "vgg5-slim": 3, "vgg4-tiny": 1, "wrn16": 2, "resnet19": 2}


def weightless(name: str, **settings: Any) -> SpikingClassifier:
    """The network without memory for its weights: shapes alone."""
    with torch.device("meta"):
        return build(name, **settings)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def images(*shape: int, n: int = 6) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["vgg4-tiny", "vgg5-slim", "convex", "subtract"])
def active(request: pytest.FixtureRequest) -> tuple[SpikingClassifier, Tensor]:
    """A small network in double precision whose layers all fire, in eval mode, with images."""
    settings: dict[str, dict[str, Any]] = {
        "convex": {"name": "vgg4-tiny", "neuron": LIF(decay=0.9)},
        "subtract": {"name": "vgg4-tiny", "neuron": LIF(reset="subtract", decay=0.5, threshold=0.7)},
    }
    chosen = settings.get(request.param, {"name": request.param})
    shape = SMALL[chosen["name"]]
    model = build(**chosen, image_shape=shape, mean=[0.4] * shape[0], std=[0.3] * shape[0], seed=2).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(3)
    x = images(*shape).double()
    model.eval()
    with sg.layers.watching(model, sg.neurons.Watch(potential=True)) as seen:
        model(x)
    assert all(0 < float(passes[0].spikes.mean()) < 1 for passes in seen.values())  # type: ignore[union-attr]
    return model, x


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [("vgg11", 10, 61_377_034), ("vgg11", 100, 61_745_764), ("vgg16", 10, 33_646_666), ("wrn16", 10, 2_748_902)],
)
def test_parameter_counts_of_the_published_networks(name: str, classes: int, count: int) -> None:
    # SOURCE: METHODS 2; 33.65 M there is 14,714,688 + 8,448 (convolutions, norms) + 18,923,530 (fully connected).
    assert parameters(weightless(name, classes=classes)) == count


@pytest.mark.parametrize(
    ("name", "neurons"),
    [
        ("vgg11", 10),
        ("vgg16", 15),
        ("vgg13", 12),
        ("vgg5", 5),
        ("wrn16", 13),
        ("resnet19", 18),
        ("vgg5-slim", 4),
        ("vgg4-tiny", 3),
    ],
)
def test_numbers_of_neuron_layers(name: str, neurons: int) -> None:
    assert len(neurons_of(weightless(name))) == neurons


def test_the_tensors_of_vgg11_in_order() -> None:
    wanted: list[tuple[int, ...]] = []
    inputs = 3
    for outputs in (64, 128, 256, 512, 512, 512, 512, 512):
        wanted += [(outputs, inputs, 3, 3), (outputs,), (outputs,), (outputs,)]  # convolution with bias, then norm
        inputs = outputs
    wanted += [(4096, 8192), (4096,), (4096, 4096), (4096,), (10, 4096), (10,)]
    assert [tuple(p.shape) for p in weightless("vgg11").parameters()] == wanted


def test_the_state_dict_holds_parameters_and_statistics_alone() -> None:
    model = weightless("vgg11")
    state = set(model.state_dict())
    statistics = {name for name in state if name.rsplit(".", 1)[1] in ("running_mean", "running_var", "num_batches_tracked")}
    assert len(statistics) == 3 * 8
    assert state - statistics == {name for name, _ in model.named_parameters()}


def test_the_residual_networks() -> None:
    wrn = weightless("wrn16")
    assert sum(isinstance(m, ConvexCombination) for m in wrn.modules()) == 6
    assert sum(isinstance(m, Sum) for m in weightless("wrn16", residual="sum").modules()) == 6
    resnet = weightless("resnet19")
    assert sum(isinstance(m, Sum) for m in resnet.modules()) == 8
    scales = sorted({round(m.scale, 12) for m in resnet.modules() if isinstance(m, TDBN)})
    assert scales == [round(0.5**0.5, 12), 1.0]
    # Convolutions without bias, norms, 512 x 256 + 256 and 256 x 10 + 10; shortcuts where width or stride changes.
    blocks = [(128, 128)] * 3 + [(128, 256), (256, 256), (256, 256), (256, 512), (512, 512)]
    count = 27 * 128 + 256 + sum(9 * i * o + 9 * o * o + 4 * o + (i * o + 2 * o if i != o else 0) for i, o in blocks)
    assert parameters(resnet) == count + 512 * 256 + 256 + 256 * 10 + 10


def test_the_list_says_what_there_is() -> None:
    listed = names()
    assert set(HALVINGS) <= set(listed)
    assert all(listed.values())


@pytest.mark.parametrize("name", sorted(HALVINGS))
def test_every_size_that_divides(name: str) -> None:
    step = 2 ** HALVINGS[name]
    for height, width in ((step, step), (2 * step, step), (64, 64)):
        model = weightless(name, image_shape=(2, height, width), classes=7, steps=3)
        assert model(torch.empty(5, 2, height, width, device="meta")).shape == (5, 7)


@pytest.mark.parametrize("name", sorted(HALVINGS))
def test_a_size_that_does_not_divide_is_refused(name: str) -> None:
    step = 2 ** HALVINGS[name]
    with pytest.raises(RequestError, match=rf"{name} halves its input .* multiples of {step}; found {step}x{step + 1}"):
        weightless(name, image_shape=(3, step, step + 1))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mean": [0.1], "std": [0.1, 0.1, 0.1]}, "3 channels, but mean has 1"),
        ({"mean": [0.1] * 3, "std": [0.1]}, "mean and std need one value per channel"),
        ({"mean": [0.1] * 3, "std": [0.1, 0.1, 0.0]}, "std > 0"),
        ({"image_shape": (8, 8)}, r"image_shape=\(channels, height, width\)"),
        ({"image_shape": (3, 0, 0)}, r"image_shape=\(channels, height, width\)"),
        ({"classes": 0}, "at least one class"),
    ],
)
def test_impossible_networks_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        build("vgg4-tiny", **settings)


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("vgg12", {}, "name: unknown network 'vgg12'; did you mean 'vgg1"),
        ("vgg11", {"step": 4}, "step: no such field"),
        ("vgg11", {"steps": 0}, "steps: "),
        ("vgg11", {"neuron": {"kind": "lif", "decay": 1.5}}, "neuron.decay: "),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRecipe, match=text):
        build(name, **settings)


@pytest.mark.parametrize("shape", [(6, 1, 16, 16), (6, 3, 8, 8), (1, 8, 8), (6, 64)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = build("vgg4-tiny", image_shape=(1, 8, 8))
    with pytest.raises(InvalidInput, match=r"vgg4-tiny was built for images \(1, 8, 8\), found a batch of shape"):
        model(torch.zeros(shape))


def test_a_seed_fixes_the_weights_and_moves_no_generator() -> None:
    before = torch.get_rng_state(), random.getstate()
    one, again, other = (build("vgg4-tiny", image_shape=(1, 8, 8), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    assert next(one.parameters()).data_ptr() != next(again.parameters()).data_ptr()


def test_the_initialisation() -> None:
    model = build("vgg5-slim", image_shape=(3, 32, 32))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            wanted = (2 / (9 * module.out_channels)) ** 0.5  # Kaiming, fan out
            n = module.weight.numel()
            assert abs(float(module.weight.detach().std()) - wanted) < 4 * wanted / (2 * n) ** 0.5
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            assert float(module.weight.detach().abs().max()) <= module.in_features**-0.5
        if isinstance(module, TDBN):
            assert module.weight.eq(1).all()
            assert not module.bias.any()


def test_two_calls_agree(active: tuple[SpikingClassifier, Tensor]) -> None:
    model, x = active
    assert not model.stochastic
    first = model(x)
    model(x.flip(0) * 0.5)
    assert torch.equal(model(x), first)
    assert first.std() > 0


def test_a_sample_does_not_know_its_batch(active: tuple[SpikingClassifier, Tensor]) -> None:
    model, x = active
    logits = model(x)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(model(x[order]), logits[order], atol=1e-10)
    for i in range(len(x)):
        assert torch.allclose(model(x[i : i + 1]), logits[i : i + 1], atol=1e-10)
    assert model(x[:0]).shape == (0, 10)
    leaf = x.clone().requires_grad_()
    together = torch.autograd.grad(model(leaf).square().sum(), leaf)[0]
    alone = x[2:3].clone().requires_grad_()
    assert torch.allclose(torch.autograd.grad(model(alone).square().sum(), alone)[0], together[2:3], atol=1e-10)
    assert together.abs().sum() > 0


def test_logits_are_the_mean_over_time(active: tuple[SpikingClassifier, Tensor]) -> None:
    model, x = active
    frames: list[Tensor] = []
    handle = model.body.register_forward_hook(lambda module, args, out: frames.append(out))
    logits = model(x)
    handle.remove()
    assert frames[0].shape == (4, 6, 10)
    assert torch.allclose(logits, sum(frames[0]) / 4)


def test_normalisation_is_inside(active: tuple[SpikingClassifier, Tensor]) -> None:
    model, x = active
    seen: list[Tensor] = []
    handle = model.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    handle.remove()
    assert torch.allclose(seen[0][0], (x - 0.4) / 0.3, atol=1e-7)  # the constants were given in single precision


def test_weights_go_out_and_come_back() -> None:
    one = build("vgg5-slim", image_shape=(3, 16, 16), seed=1)
    other = build("vgg5-slim", image_shape=(3, 16, 16), seed=2)
    one(images(3, 16, 16))  # moves the statistics
    other.load_state_dict(one.state_dict())
    x = images(3, 16, 16)
    assert torch.equal(one.eval()(x), other.eval()(x))


def test_every_layer_has_a_neuron_of_its_own() -> None:
    settings = LIF(decay=0.7, surrogate=Triangle(gamma=2))
    model = weightless("wrn16", neuron=settings, steps=3)
    neurons = list(neurons_of(model).values())
    assert len({id(neuron) for neuron in neurons}) == len(neurons)
    assert all(isinstance(n, Neuron) and n.settings == settings and n.steps == 3 for n in neurons)


def test_tdbn_takes_the_threshold_of_the_neuron() -> None:
    def scales(**settings: Any) -> set[float]:
        return {m.scale for m in weightless("vgg4-tiny", **settings).modules() if isinstance(m, TDBN)}

    assert scales() == {1.0}
    assert scales(neuron=LIF(threshold=0.5)) == {0.5}
    assert scales(neuron=LIF(threshold=0.5), tdbn_threshold=1.0) == {1.0}
    assert scales(neuron=LIF(threshold=0.5), tdbn_alpha=4.0) == {2.0}


def test_stochastic_networks_say_so() -> None:
    assert weightless("vgg4-tiny", encoder="poisson").stochastic
    assert weightless("vgg4-tiny", neuron=nlif(inference_noise=True)).stochastic
    assert not weightless("vgg4-tiny", neuron=nlif()).stochastic


def test_the_documented_call() -> None:
    model = sg.networks.build(
        "vgg11", steps=4, classes=10, image_shape=(3, 32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.201),
        neuron=sg.neurons.LIF(decay=1.0), encoder=sg.encoders.Direct(),
    )  # fmt: skip
    assert isinstance(model, SpikingClassifier)
    assert parameters(model) == 61_377_034
    logits = model.eval()(images(3, 32, 32, n=2))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


def test_build_is_construct_of_a_network() -> None:
    network = Network(name="vgg4-tiny", steps=3)
    one = construct(network, classes=5, image_shape=(1, 8, 8), mean=[0.0], std=[1.0], seed=4).eval()
    other = build("vgg4-tiny", steps=3, classes=5, image_shape=(1, 8, 8), seed=4).eval()
    x = images(1, 8, 8)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("name", ["wrn16", "resnet19"])
def test_residual_networks_run_and_differentiate(name: str) -> None:
    model = build(name, image_shape=(3, 8, 8), steps=2)
    x = images(3, 8, 8, n=4).requires_grad_()
    nn.functional.cross_entropy(model(x), torch.arange(4)).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
