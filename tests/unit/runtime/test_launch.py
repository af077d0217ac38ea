"""The launch path without a device: a driver that reads argument blocks as C would and computes on the
CPU."""

import ctypes
import dataclasses
import gc
import struct
import sys
import threading
from ctypes import c_float, c_int, c_int64, c_uint64, c_void_p
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import spak_runtime
from spak_runtime import args as arguments
from spak_runtime import function, kernel, known, plan, quick, tensor_map
from spak_runtime.cache import KernelCache
from spak_runtime.choose import Chooser, LaunchShape, Target
from spak_runtime.errors import (
    CaptureError,
    DriverError,
    ExpressionError,
    GradientError,
    MachineCodeError,
    MachineCodeWarning,
    NoVariantError,
    OptionError,
    StrideError,
)
from spak_runtime.expressions import Environment, TensorFacts
from spak_runtime.kernel import Loader, PreparedLaunch
from spak_runtime.machine_rules import judged
from spak_runtime.manifest import Launch, OptionSpec, Param
from spak_runtime.nvrtc import BuildRequest, Compiled
from spak_runtime.params import layout_of_params
from spak_runtime.plan import CudaPlan, Sources
from spak_runtime.tensor_map import MapLayout
from tests.nvrtc.test_machine_rules import SPILLS
from tests.unit.runtime import hand_artifact

TARGET = Target("NVIDIA A100", ("sm_80",), {})
STREAM = 0x5000
CAPTURING = "is_current_stream_capturing"


def on_threads(work):
    """Runs `work(0)` to `work(3)` at once."""
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Affine(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("x", "gate", "y")),
        *((name, c_int64) for name in ("x0", "x1", "y0", "y1")),
        ("R", c_int),
        ("N", c_int),
        ("factor", c_float),
    ]


class Gradient(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("x", "gate", "grad_y", "grad_x", "grad_gate", "products")),
        *((name, c_int64) for name in ("x0", "x1", "g0", "g1")),
        ("R", c_int),
        ("N", c_int),
        ("factor", c_float),
    ]


class Moments(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("x", "total", "squares")),
        ("x0", c_int64),
        ("R", c_int),
        ("N", c_int),
    ]


class Update(ctypes.Structure):
    _fields_ = [("p", c_void_p), ("g", c_void_p), ("N", c_int), ("rate", c_float)]


def floats(address, shape, strides):
    """A float32 view of memory at an address."""
    size = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    raw = (c_float * size).from_address(address)
    return torch.frombuffer(raw, dtype=torch.float32).as_strided(shape, strides)


def affine(p):
    x = floats(p.x, (p.R, p.N), (p.x0, p.x1))
    gate = floats(p.gate, (p.N,), (1,)) if p.gate else 1.0
    floats(p.y, (p.R, p.N), (p.y0, p.y1)).copy_(x * gate * p.factor)


def each(p):
    shape = (p.R, p.N)
    x, grad_y = floats(p.x, shape, (p.x0, p.x1)), floats(p.grad_y, shape, (p.g0, p.g1))
    floats(p.grad_x, shape, (p.N, 1)).copy_(grad_y * p.factor * floats(p.gate, (p.N,), (1,)))
    floats(p.products, shape, (p.N, 1)).copy_(grad_y * p.factor * x)


def columns(p):
    floats(p.grad_gate, (p.N,), (1,)).copy_(floats(p.products, (p.R, p.N), (p.N, 1)).sum(0))


def update(p):
    floats(p.p, (p.N,), (1,)).add_(floats(p.g, (p.N,), (1,)) * p.rate)


def moments(p):
    x = floats(p.x, (p.R, p.N), (p.x0, 1))
    floats(p.total, (p.R,), (1,)).copy_(x.sum(1))
    floats(p.squares, (p.R,), (1,)).copy_((x * x).sum(1))


KERNELS = {
    "affine": (Affine, affine),
    "each": (Gradient, each),
    "columns": (Gradient, columns),
    "moments": (Moments, moments),
    "update": (Update, update),
}


class Driver:
    """Executes launches; functions are numbers of entries. `status` is what the next launch answers."""

    def __init__(self):
        self.launches = []
        self.statuses = []
        self.errors = []
        prototype = ctypes.CFUNCTYPE(c_int, *[c_void_p] * 4)
        self.function = prototype(self.launch)  # by its address, for who has no Python

    def launch(self, *arguments):
        try:
            return self.cuLaunchKernelEx(*arguments)
        except Exception as error:
            self.errors.append(error)
            return 1

    def cuLaunchKernelEx(self, config, function, params, extra):
        assert extra is None
        asked = kernel.LaunchConfig.from_address(config)
        assert (tuple(asked.block)[1:], asked.attribute_count) == ((1, 1), 0)
        name = list(KERNELS)[function - 1]
        self.launches.append((name, tuple(asked.grid), asked.block[0], asked.shared_bytes, asked.stream))
        if self.statuses:
            return self.statuses.pop(0)
        (address,) = (c_void_p * 1).from_address(params)
        structure, compute = KERNELS[name]
        compute(structure.from_address(address))
        return 0


class EntryLoader:
    """Stands for a Loader: a function is the number of its entry."""

    def __init__(self):
        self.requests = []

    def function(self, request, entry, _device, shared_bytes, _cluster):
        self.requests.append((request, entry, shared_bytes))
        return 1 + list(KERNELS).index(entry)


@pytest.fixture
def driver(monkeypatch):
    fake = Driver()
    monkeypatch.setattr(kernel, "_launcher", lambda: fake.function)
    monkeypatch.setattr(plan, "current_stream", lambda device: STREAM + device)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 0, raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: False)
    yield fake
    assert fake.errors == []


def plan_of(function, call, loader=None):
    """The plan that a CUDA call would have, over CPU memory."""
    signature = function.signature
    resolved = dataclasses.replace(signature.resolve(call), device=torch.device("cpu", 0))
    choice = Chooser(function.spec).choose(TARGET, resolved.environment)
    shared = function._shared.sources
    return CudaPlan(
        signature, resolved, choice, Sources(shared.kernels, shared.headers), loader or EntryLoader()
    )


def run(function, *args, loader=None, **kwargs):
    call = function.signature.bind(args, kwargs)
    tensors = [call.inputs.get(name, call.outputs.get(name)) for name in function.signature.specs]
    return plan_of(function, call, loader).run(tensors)


@pytest.mark.parametrize("columns", [16, 13])  # the first variant, and the one without guards
@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize("given", [True, False])
def test_a_call_through_argument_blocks(hand, driver, columns, layout, given):
    x, gate = torch.randn(columns, 6).t(), torch.randn(columns) if given else None
    (y,) = run(hand.affine, x, gate, factor=0.5, layout=layout)
    torch.testing.assert_close(y, x * (gate if given else 1.0) * 0.5)
    assert y.stride() == ((columns, 1) if layout == "row" else (1, 6))
    threads = 256 if columns == 16 else 64
    assert driver.launches == [("affine", (-(-6 * columns // threads), 1, 1), threads, 0, STREAM)]


@pytest.mark.parametrize("takes", ["memory", "nobody", "nothing fits", "not asked"])
def test_parts_of_a_sum_may_be_left_to_the_caller(hand, driver, monkeypatch, takes):
    """The launch that would add them up is left out where they have a place, or nobody wants the sum."""
    x, gate, grad = torch.randn(6, 16), torch.randn(16), torch.randn(6, 16)
    gradient, memory = hand.affine_gradient, torch.full((6, 16), torch.nan)
    monkeypatch.setattr(function, "_is_on_cpu", lambda _: False)
    monkeypatch.setattr(gradient, "_planned", lambda call: plan_of(gradient, call))
    asked = []

    def take(shape):
        asked.append(shape)
        return memory if takes == "memory" else None

    parts = {"gate": None if takes == "nobody" else take}
    values, row = {"x": x, "gate": gate}, torch.full((16,), 7.0)
    options = {"factor": 2.0}
    given = () if takes == "not asked" else (parts,)
    found = hand.affine.differentiate(values, {"y": grad}, options, {"gate": row}, *given)
    torch.testing.assert_close(found["x"], grad * 2 * gate)
    left = takes in ("memory", "nobody")
    assert [launch[0] for launch in driver.launches] == (["each"] if left else ["each", "columns"])
    assert ("gate" in found) is not left
    if takes == "memory":
        torch.testing.assert_close(memory, grad * 2 * x)
    if left:
        assert row.tolist() == [7.0] * 16, "a sum that is left out is not written"
    else:
        assert found["gate"] is row
        torch.testing.assert_close(row, (grad * 2 * x).sum(0))
    assert asked == ([(6, 16)] if takes in ("memory", "nothing fits") else [])


def test_two_launches_share_a_workspace(hand, driver):
    x, gate, grad = torch.randn(6, 16), torch.randn(16), torch.randn(6, 16)
    grad_x, grad_gate = run(hand.affine_gradient, x, gate, grad, factor=2.0)
    torch.testing.assert_close(grad_x, grad * 2 * gate)
    torch.testing.assert_close(grad_gate, (grad * 2 * x).sum(0))
    assert [launch[0] for launch in driver.launches] == ["each", "columns"]


def test_several_outputs_and_dynamic_shared_memory(hand, driver):
    x, loader = torch.randn(4, 32), EntryLoader()
    total, squares = run(hand.moments, x, loader=loader)
    torch.testing.assert_close(total, x.sum(1))
    torch.testing.assert_close(squares, (x * x).sum(1))
    assert driver.launches[0][3] == 512
    assert loader.requests[0][2] == 512


@pytest.mark.usefixtures("driver")
def test_provided_outputs_are_written_and_their_versions_move(hand):
    x, y = torch.randn(6, 16), torch.zeros(6, 16)
    (result,) = run(hand.affine, x, out=y)
    assert result is y
    assert y._version == 1
    torch.testing.assert_close(y, x)
    with torch.inference_mode():
        assert torch.equal(run(hand.affine, x, out=torch.zeros(6, 16))[0], x)


def test_an_empty_grid_is_not_launched(hand, driver):
    (y,) = run(hand.affine, torch.empty(0, 16))
    assert y.shape == (0, 16)
    assert driver.launches == []


@pytest.mark.usefixtures("driver")
def test_specialisations_follow_the_call(hand):
    loader = EntryLoader()
    run(hand.affine, torch.randn(6, 16), torch.randn(16), loader=loader)
    run(hand.affine, torch.randn(6, 16), loader=loader)
    given, absent = (set(request.options) for request, _, _ in loader.requests)
    assert given - absent == {"-DPRESENT_gate=1"}
    assert absent - given == {"-DPRESENT_gate=0"}
    assert {"-DDTYPE_x=spak::f32", "-DOPTION_mode=plain"} <= given


@pytest.mark.usefixtures("driver")
def test_a_plan_serves_threads_at_once(hand):
    function = hand.affine
    call = function.signature.bind((torch.randn(6, 16),), {})
    shared = plan_of(function, call)
    failures = []

    def work(seed):
        x = torch.full((6, 16), float(seed))
        for _ in range(200):
            (y,) = shared.run([x, None, None])
            if not torch.equal(y, x):
                failures.append(seed)

    on_threads(work)
    assert not failures


def test_a_thread_that_has_not_used_the_device_gets_its_context(hand, driver, monkeypatch):
    entered = []
    monkeypatch.setattr(kernel, "make_current", entered.append)
    driver.statuses = [201]
    x = torch.randn(6, 16)
    (y,) = run(hand.affine, x)
    torch.testing.assert_close(y, x)
    assert entered == [0]


def test_a_failing_launch_is_told(hand, driver, monkeypatch):
    driver.statuses = [701]
    monkeypatch.setattr(kernel, "_status_name", {701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"}.get)
    with pytest.raises(
        DriverError, match=r"affine with grid \(1, 1, 1\), 256 threads and 0 bytes .*OUT_OF_RES"
    ):
        run(hand.affine, torch.randn(6, 16))


@pytest.mark.usefixtures("driver")
def test_defaults_are_not_filled_during_a_capture(hand, monkeypatch):
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: True)
    with pytest.raises(CaptureError, match="the defaults of gate"):
        run(hand.affine, torch.randn(6, 13))


# ---- the fast path -------------------------------------------------------------------------------------


@pytest.fixture(params=["C", "Python"])
def as_cuda(driver, monkeypatch, tmp_path, request):
    """An artifact of its own whose CPU tensors take the way of CUDA tensors, by quick.c and without a C compiler;
    counts the plans that are made."""
    if request.param == "Python":
        monkeypatch.setattr(quick, "maker", lambda: None)
    else:
        assert quick.maker() is not None
    monkeypatch.setattr(torch.Tensor, "get_device", lambda _: 0)
    monkeypatch.setattr(function, "_is_on_cpu", lambda _: False)
    for module in (arguments, known):  # torch's memory of a device begins at multiples of 256
        monkeypatch.setattr(module, "MAX_ALIGNMENT", 64)
    made = []

    def plan(self, call, _resolved):
        key = function._argument_key(call)
        if key not in self._plans:
            made.append(self.spec.name)
            self._plans[key] = plan_of(self, call)
        return self._plans[key]

    monkeypatch.setattr(function.KernelFunction, "_plan", plan)
    header = hand_artifact.HEADER + f"// {tmp_path}\n"  # artifacts of the same content share operators
    artifact = spak_runtime.load(hand_artifact.write(tmp_path, files={"include/spak/hand.cuh": header}))
    return SimpleNamespace(artifact=artifact, made=made, driver=driver, by_c=request.param == "C")


def test_a_new_call_on_a_device_says_who_computes_it_and_why(hand, monkeypatch, capfd):
    monkeypatch.setenv("SPAK_EXPLAIN", "1")
    monkeypatch.setattr(function, "target_of", lambda _: TARGET)
    monkeypatch.setattr(function, "CudaPlan", lambda *_: object())
    kernel = hand.affine.only("each/even", "each/any")
    even, odd = torch.randn(6, 16), torch.randn(6, 13)
    for x in (even, even, odd):
        call = kernel.signature.bind((x,), {})
        resolved = dataclasses.replace(kernel.signature.resolve(call), device=torch.device("cuda", 0))
        kernel._plan(call, resolved)
    first, other, rejected = capfd.readouterr().err.splitlines()
    assert first.startswith("affine on cuda:0 (NVIDIA A100, sm_80): variant each/even")
    assert other.startswith("affine on cuda:0 (NVIDIA A100, sm_80): variant each/any")
    assert rejected.startswith("  not each/even: even_rows: N % 8 == 0 is false")


def test_a_call_of_a_known_shape_makes_no_plan_and_no_check(as_cuda, monkeypatch):
    kernel = as_cuda.artifact.affine
    x, gate, y = torch.randn(6, 16), torch.randn(16), torch.empty(6, 16)
    calls = (
        lambda x: kernel(x, gate, factor=2.0),
        lambda x: kernel(x, gate=gate, factor=2.0),
        lambda x: kernel(gate=gate, factor=2.0, x=x),
        lambda x: kernel(x, gate, factor=2.0, out=y),
        lambda x: kernel(x, gate, factor=2.0, y=y),
        lambda x: kernel(x, gate, factor=2.0, dtype=torch.float32, layout="row"),
    )
    for call in calls:
        call(x)
    made = len(as_cuda.made)
    monkeypatch.setattr(type(kernel.signature), "resolve", None)
    monkeypatch.setattr(type(kernel.signature), "bind", None)
    x.copy_(torch.randn(6, 16))
    for call in calls:
        torch.testing.assert_close(call(x), x * gate * 2)
    assert (
        len(as_cuda.made) == made == 3
    )  # plain, with an output provided, with a dtype and a layout asked for


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:5],
        lambda x: x[:, :8],
        lambda x: x.t().contiguous().t(),
        lambda x: torch.cat([x, x])[1:7],
        lambda x: x.flatten()[1:81].view(5, 16),
    ],
)
def test_another_shape_stride_or_alignment_is_another_call(as_cuda, change):
    kernel, x = as_cuda.artifact.affine, torch.randn(6, 16)
    torch.testing.assert_close(kernel(x), x)
    other = change(x)
    torch.testing.assert_close(kernel(other), other)
    torch.testing.assert_close(kernel(other), other)
    assert len(kernel._calls) == (2 if known.tensor_key(other) != known.tensor_key(x) else 1)


def test_options_of_one_number_and_several_meanings(as_cuda):
    kernel, x = as_cuda.artifact.affine, torch.ones(2, 16)
    for factor in (0.0, -0.0, 1.0, 1, 0, 2.5):
        y = kernel(x, factor=factor)
        assert torch.equal(y, x * factor)
        assert torch.equal(torch.signbit(y), torch.signbit(x * factor))
    for wrong in (True, "1.0"):
        with pytest.raises(OptionError):
            kernel(x, factor=wrong)


def test_gradients_never_take_the_fast_path(as_cuda):
    kernel = as_cuda.artifact.affine
    x, gate = torch.randn(6, 16), torch.randn(16)
    kernel(x, gate)
    y = kernel(x.requires_grad_(), gate)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, gate.expand(6, 16))
    assert "affine_gradient" in as_cuda.made
    with torch.no_grad():
        assert not kernel(x, gate).requires_grad


def test_a_known_call_returns_what_the_first_one_did(as_cuda):
    x, p = torch.randn(4, 32), torch.zeros(32)
    for _ in range(3):
        result = as_cuda.artifact.moments(x)
        torch.testing.assert_close(result.total, x.sum(1))
        torch.testing.assert_close(result.squares, (x * x).sum(1))
        assert as_cuda.artifact.update(p, torch.ones(32), rate=0.5) is None
    assert torch.equal(p, torch.full((32,), 1.5)) and p._version == 3


def test_a_known_call_that_fails_is_told(as_cuda, monkeypatch):
    kernel_, x = as_cuda.artifact.affine, torch.randn(6, 16)
    kernel_(x)
    entered = []
    monkeypatch.setattr(kernel, "make_current", entered.append)
    monkeypatch.setattr(kernel, "_status_name", {701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"}.get)
    as_cuda.driver.statuses = [201] * (1 + as_cuda.by_c)  # by C, then by Python, which enters the device
    torch.testing.assert_close(kernel_(x), x)
    assert entered == [0]
    as_cuda.driver.statuses = [701, 701]
    with pytest.raises(DriverError, match=r"affine with grid \(1, 1, 1\), 256 threads .*OUT_OF_RES"):
        kernel_(x)
    as_cuda.driver.statuses = []
    torch.testing.assert_close(kernel_(x), x)


def test_a_known_call_enters_the_device_of_its_tensors(as_cuda, monkeypatch):
    kernel_, x = as_cuda.artifact.affine, torch.randn(6, 16)
    kernel_(x)
    current, entered = [1], []

    class Device:
        def __init__(self, index):
            self.index = index

        def __enter__(self):
            entered.append(self.index)
            self.before, current[0] = current[0], self.index

        def __exit__(self, *_):
            current[0] = self.before

    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "device", Device)
    other = kernel_.only("each/even", "each/any")  # its calls are made under the new function
    for one in (kernel_, other):
        torch.testing.assert_close(one(x, factor=3.0), x * 3)
        entered.clear()
        torch.testing.assert_close(one(x, factor=3.0), x * 3)
        assert entered == [0] and current == [1]


def test_known_calls_of_threads_at_once(as_cuda):
    kernel_, failures = as_cuda.artifact.affine, []
    kernel_(torch.zeros(6, 16))

    def work(seed):
        x = torch.full((6, 16), float(seed))
        if not all(torch.equal(kernel_(x), x) for _ in range(200)):
            failures.append(seed)

    on_threads(work)
    assert not failures


def test_known_calls_keep_nothing(as_cuda):
    kernel_, x, gate = as_cuda.artifact.affine, torch.randn(6, 16).requires_grad_(), torch.randn(16)

    def calls():
        as_cuda.driver.launches.clear()
        for _ in range(200):
            kernel_(x.detach(), gate, out=kernel_(x.detach()))
            torch.autograd.grad(kernel_(x, gate).sum(), x)
            kernel_(gate[None])
            assert isinstance(as_cuda.artifact.moments(x.detach().repeat(1, 2)), tuple)

    calls()
    as_cuda.driver.launches.clear()
    gc.collect()
    before = sys.getallocatedblocks()
    calls()
    as_cuda.driver.launches.clear()
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


def test_more_than_c_has_room_for_goes_by_python(as_cuda, monkeypatch):
    kernel_, x = as_cuda.artifact.affine, torch.randn(6, 16)
    if quick.maker() is not None:

        def full(*_):
            raise OverflowError

        monkeypatch.setattr(quick, "maker", lambda: full)
    for _ in range(2):
        torch.testing.assert_close(kernel_(x), x)


def test_without_a_compiler_calls_go_by_python(monkeypatch, tmp_path):
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path))
    for compiler in ("false", "/no/such/compiler"):
        monkeypatch.setenv("CC", compiler)
        assert quick.maker.__wrapped__() is None
    monkeypatch.delenv("CC")
    assert quick.maker.__wrapped__() is not None
    (library,) = (tmp_path / "host").glob("*.so")
    content = library.read_bytes()
    library.unlink()  # it is in use
    library.write_bytes(content[:-100])  # damaged: built again
    assert quick._library() == library and quick.maker.__wrapped__() is not None


def test_a_known_gradient_makes_no_plan_and_no_check(as_cuda, monkeypatch):
    kernel = as_cuda.artifact.affine

    def both(x, gate, weight, wanted):
        y = kernel(x, gate, mode="plain", factor=2.0)
        assert type(y.grad_fn).__name__ == "Gradient_affineBackward"
        return torch.autograd.grad((y * weight).sum() if weight is not None else y.sum(), wanted)

    def inputs():
        return torch.randn(6, 16).requires_grad_(), torch.randn(16).requires_grad_(), torch.randn(6, 16)

    for attempt in range(3):
        for weighted in (True, False):  # an expanded gradient gets copied
            x, gate, weight = inputs()
            grad = weight if weighted else torch.ones_like(weight)
            mine = both(x, gate, weight if weighted else None, (x, gate))
            torch.testing.assert_close(mine, (grad * 2 * gate, (grad * 2 * x).sum(0)))
            (only,) = both(x, gate.detach(), weight if weighted else None, (x,))
            torch.testing.assert_close(only, grad * 2 * gate)
        if attempt == 1:
            monkeypatch.setattr(type(kernel.signature), "resolve", None)
            monkeypatch.setattr(type(kernel.signature), "bind", None)


def test_a_known_call_has_no_second_derivative(as_cuda):
    kernel = as_cuda.artifact.affine
    x, gate = torch.randn(6, 16).requires_grad_(), torch.randn(16)
    for _ in range(3):
        with pytest.raises(GradientError, match="without create_graph"):
            torch.autograd.grad(kernel(x, gate).sum(), x, create_graph=True)


def test_a_mode_of_torch_sees_the_operator(as_cuda):
    seen = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    kernel, x = as_cuda.artifact.affine, torch.randn(6, 16)
    kernel(x)
    with Spy():
        kernel(x)
    assert kernel.operator in seen


def test_a_view_that_torch_negates_is_refused(as_cuda):
    kernel, x = as_cuda.artifact.affine, torch.randn(4, 16)
    kernel(x)
    with pytest.raises(StrideError, match="resolve_neg"):
        kernel(torch._neg_view(x))
    torch.testing.assert_close(kernel(torch._neg_view(x).resolve_neg()), -x)


def test_plans_do_not_pile_up(as_cuda, monkeypatch):
    monkeypatch.setattr(function, "REMEMBERED", 4)
    kernel = as_cuda.artifact.affine
    for rows in range(1, 10):
        kernel(torch.zeros(rows, 16))
    assert len(kernel._calls) == 4


# ---- argument blocks -----------------------------------------------------------------------------------


def test_fields_lie_as_in_c():
    class Params(ctypes.Structure):
        _fields_ = [("a", c_int), ("b", c_uint64), ("c", c_float), ("d", c_int), ("e", c_int), ("f", c_int64)]

    types = ("i32", "u64", "f32", "i32", "i32", "i64")
    layout = layout_of_params([Param("value", type) for type in types])
    assert layout.offsets == tuple(getattr(Params, name).offset for name in "abcdef")
    assert layout.size == ctypes.sizeof(Params)
    with_map = layout_of_params([Param("dim", "i32"), Param("tensor_map", "map"), Param("dim", "i32")])
    assert (with_map.offsets, with_map.size) == ((0, 64, 192), 256)
    assert layout_of_params([]).size == 1


class Catcher:
    def __init__(self, monkeypatch, size):
        self.size = size
        monkeypatch.setattr(kernel, "_launcher", lambda: self.catch)

    def catch(self, config, _function, params, _extra):
        (address,) = (c_void_p * 1).from_address(params)
        self.address, self.block = address, ctypes.string_at(address, self.size)
        self.config = kernel.LaunchConfig.from_buffer_copy(
            ctypes.string_at(config, ctypes.sizeof(kernel.LaunchConfig))
        )
        return 0


ENVIRONMENT = Environment(
    dims={"M": 70_000},
    options={"mode": "fast", "flag": True, "rate": 0.5},
    tensors={"x": TensorFacts("bf16", 2, (4096, 1))},
)
OPTIONS = {
    "mode": OptionSpec("mode", ("slow", "fast"), None, "slow", True),
    "flag": OptionSpec("flag", (), "bool", False, True),
    "rate": OptionSpec("rate", (), "f32", 1.0, False),
}


def prepared(*params, overlaps=False):
    launch = Launch("k.cu", "k", params, (1, 1, 1), 32, 0)
    return PreparedLaunch(7, launch, LaunchShape((6, 5, 4), 32, 96), ENVIRONMENT, OPTIONS, {"x": 0}, overlaps)


def test_the_configuration_lies_as_the_driver_reads_it(monkeypatch):
    catcher = Catcher(monkeypatch, 8)
    for overlaps in (False, True):
        prepared(Param("pointer", "u64", "x"), overlaps=overlaps).run([64], STREAM, 0)
        config, width = catcher.config, ctypes.sizeof(kernel.LaunchConfig)
        seven, stream, attributes, count = struct.unpack("28s4xQQI4x", bytes(config))
        assert (struct.unpack("7I", seven), stream, width) == ((6, 5, 4, 32, 1, 1, 96), STREAM, 56)
        assert (count, attributes != 0) == (int(overlaps), True)
        assert ctypes.sizeof(kernel.LaunchAttribute) == 72


def test_a_launch_that_overlaps_says_so(monkeypatch):
    asked = []

    def launch(config, function, _params, _extra):
        attribute = kernel.LaunchConfig.from_address(config).attributes[0]
        asked.append((function, attribute.id, attribute.value[0]))
        return 0

    monkeypatch.setattr(kernel, "_launcher", lambda: launch)
    prepared(Param("pointer", "u64", "x"), overlaps=True).run([64], 0, 0)
    assert asked == [(7, 6, 1)]  # programmatic stream serialization, allowed


def test_every_kind_of_parameter(monkeypatch):
    launch = prepared(
        Param("pointer", "u64", "x"),
        Param("pointer", "u64", "absent"),
        Param("stride", "i64", "x", 0),
        Param("dim", "i32", "M"),
        Param("option", "i32", "mode"),
        Param("option", "i32", "flag"),
        Param("option", "f32", "rate"),
        Param("value", "i32", "", 0, ["ceil_div", ["dim", "M"], 128]),
    )
    catcher = Catcher(monkeypatch, 44)
    launch.run([0x7F00_1234_5678], 0, 0)
    assert struct.unpack("QQqiiifi", catcher.block) == (0x7F00_1234_5678, 0, 4096, 70_000, 1, 1, 0.5, 547)


def test_a_tensor_map_lies_aligned_and_is_encoded_for_the_pointer(monkeypatch):
    asked = []

    def encode(address, layout):
        asked.append((address, layout))
        return bytes(range(128))

    monkeypatch.setattr(tensor_map, "encode", encode)
    rows = ["tensor_map", 128, [["stride", "x", 0], ["dim", "M"]], [["stride", "x", 0]], [64, 128]]
    launch = prepared(Param("dim", "i32", "M"), Param("tensor_map", "map", "x", 0, rows))
    catcher = Catcher(monkeypatch, 192)
    launch.run([4096], 0, 0)
    assert catcher.address % 64 == 0
    assert catcher.block[64:192] == bytes(range(128))
    launch.run([4096], 0, 0)
    launch.run([8192], 0, 0)
    launch.run([4096], 0, 0)
    same = MapLayout("bf16", 128, (4096, 70_000), (8192,), (64, 128))
    assert asked == [(4096, same), (8192, same)]  # each address is encoded once


@pytest.mark.parametrize(
    ("param", "says"),
    [
        (
            Param("value", "i32", "big", 0, ["mul", ["dim", "M"], 100_000]),
            "big of k: 7000000000 does not fit i32",
        ),
        (Param("value", "f32", "huge", 0, 1e300), "huge of k: 1e[+]300 does not fit f32"),
        (Param("value", "i32", "word", 0, "row"), "'row' is no number"),
        (Param("dim", "i32", "K"), "no value for 'K'"),
        (Param("colour", "i32", "x"), "no parameter of kind 'colour'"),
        (Param("tensor_map", "map", "x", 0, ["tensor_map", 48, [1], [], [1]]), "no swizzle of 48 bytes"),
        (
            Param("tensor_map", "map", "x", 0, ["tensor_map", 0, [1, 2], [], [1]]),
            "2 dims, 0 strides and 1 box",
        ),
        (Param("tensor_map", "map", "x", 0, 3), "3 is no tensor map"),
    ],
)
def test_a_parameter_without_a_value_is_told(param, says):
    with pytest.raises(ExpressionError, match=says):
        prepared(param)


# ---- loading -------------------------------------------------------------------------------------------


class LoadingDriver:
    """Counts loads; attributes and values as the driver gives them."""

    CUfunction_attribute = SimpleNamespace(
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="shared",
        **{f"CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_{axis}": axis for axis in ("WIDTH", "HEIGHT", "DEPTH")},
    )

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == "cuModuleLoadData":
                return 0, f"module {len(arguments[0])}"
            if name == "cuModuleGetFunction":
                return 0, f"{arguments[1].decode()} of {arguments[0]}"
            if name == "cuFuncGetAttribute":
                return 0, 2 if arguments[0] == "WIDTH" else 0
            return 0, 1

        return call

    def count(self, name):
        return sum(call[0] == name for call in self.calls)


@pytest.fixture
def loading(monkeypatch):
    from contextlib import nullcontext

    fake = LoadingDriver()
    monkeypatch.setattr(kernel, "_driver", lambda: fake)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: False)
    return fake


class EmptyCache:
    def build(self, request):
        return SimpleNamespace(cubin=request.source.encode())


REQUEST = BuildRequest("k.cu", "source", {}, (), "sm_90a")
SPILLED = """ptxas info    : Compiling entry function 'affine' for 'sm_80'
ptxas info    : Function properties for affine
    16 bytes stack frame, 16 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers
"""


def test_a_kernel_is_loaded_once_and_its_shared_memory_raised_as_needed(loading):
    loader = Loader(EmptyCache())
    first = loader.function(REQUEST, "k", 0, 0, (2, 1, 1))
    assert loader.function(REQUEST, "k", 0, 100_000, (2, 1, 1)) == first == "k of module 6"
    loader.function(REQUEST, "k", 0, 50_000, (2, 1, 1))
    loader.function(REQUEST, "other", 0, 0, (2, 1, 1))
    assert loading.count("cuModuleLoadData") == 1
    assert loading.count("cuFuncLoad") == 2
    assert [c[1:] for c in loading.calls if c[0] == "cuFuncSetAttribute"] == [(first, "shared", 100_000)]
    loader.function(REQUEST, "k", 1, 0, (2, 1, 1))
    assert loading.count("cuModuleLoadData") == 2


@pytest.mark.parametrize("kept", [False, True])
def test_code_that_spills_is_not_loaded(loading, tmp_path, kept):
    """Whether it is compiled for the call or lies in the cache."""
    request = BuildRequest("k.cu", SPILLS, {}, (), "sm_90a")
    cache = KernelCache(tmp_path)
    if kept:
        cache.build_unjudged(request)
    with pytest.raises(MachineCodeError, match=r"k\.cu for sm_90a: k spills [1-9]"):
        Loader(cache).function(request, "k", 0, 0, (2, 1, 1))
    assert loading.count("cuModuleLoadData") == 0


class SpillingLoader(EntryLoader):
    """Every entry for 256 threads spills."""

    def function(self, request, entry, *others):
        if "-DKNOB_threads=256" in request.options:
            judged(request, Compiled.from_log(b"", SPILLED))
        return super().function(request, entry, *others)


def test_a_variant_whose_code_spills_leaves_the_call_to_the_next(hand, driver, monkeypatch, capsys):
    x, affine = torch.randn(6, 16), hand.affine
    monkeypatch.setattr(function, "target_of", lambda _: TARGET)
    monkeypatch.setenv("SPAK_EXPLAIN", "1")
    loader = SpillingLoader()
    fresh = function.KernelFunction(
        affine.spec, dataclasses.replace(affine._shared, namespace="spilling", loader=loader)
    )
    call = fresh.signature.bind((x,), {})
    resolved = dataclasses.replace(fresh.signature.resolve(call), device=torch.device("cpu", 0))
    usual, other = (v.id for v in affine.spec.variants)
    assert Chooser(affine.spec).choose(TARGET, resolved.environment).variant.id == usual
    with pytest.warns(MachineCodeWarning, match=f"affine: variant {usual} is not used: .*spills 16 bytes"):
        found = fresh._plan(call, resolved)
    assert found.choice.variant.id == other and found is fresh._plan(call, resolved)
    (y,) = found.run([x, None, None])
    torch.testing.assert_close(y, x)
    said = f"not {usual}: machine code: kernels/affine/each.cu for sm_80: affine spills 16 bytes"
    assert said in capsys.readouterr().err
    with monkeypatch.context() as later:
        elsewhere = dataclasses.replace(resolved, device=torch.device("cuda", 0))
        later.setattr(fresh.signature, "resolve", lambda _: elsewhere)
        assert said in str(fresh.explain(x))


def test_a_call_that_every_variant_spills_for_is_told(hand, driver, monkeypatch):
    monkeypatch.setattr(function, "target_of", lambda _: TARGET)
    loader = SpillingLoader()
    usual = hand.affine.spec.variants[0]
    only = dataclasses.replace(hand.affine.spec, variants=(usual,), gradients=())
    fresh = function.KernelFunction(
        only, dataclasses.replace(hand.affine._shared, namespace="spilling_only", loader=loader)
    )
    call = fresh.signature.bind((torch.randn(6, 16),), {})
    resolved = dataclasses.replace(fresh.signature.resolve(call), device=torch.device("cpu", 0))
    why = f"{usual.id}: machine code: .*spills"
    with pytest.warns(MachineCodeWarning), pytest.raises(NoVariantError, match=why):
        fresh._plan(call, resolved)


@pytest.mark.usefixtures("loading")
def test_a_cluster_that_the_code_does_not_have_is_refused():
    with pytest.raises(DriverError, match=r"clusters of \(2, 1, 1\), its launch record says \(1, 1, 1\)"):
        Loader(EmptyCache()).function(REQUEST, "k", 0, 0, (1, 1, 1))


def test_nothing_is_loaded_during_a_capture(loading, monkeypatch):
    loader = Loader(EmptyCache())
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: True)
    with pytest.raises(CaptureError, match="make the same call once before, or `prepare` it"):
        loader.function(REQUEST, "k", 0, 0, (2, 1, 1))
    assert loading.calls == []
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: False)
    loader.function(REQUEST, "k", 0, 0, (2, 1, 1))
    monkeypatch.setattr(torch.cuda, CAPTURING, lambda: True)
    assert loader.function(REQUEST, "k", 0, 0, (2, 1, 1)) == "k of module 6"
