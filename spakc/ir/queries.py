"""Functions whose value only a later stage knows, and the operations of models: one table, `QUERIES`.

A row says how a function is called, where it may stand, by which means a proposition over it is established,
and the kind and unit of its value. Lowering checks calls against this table; everything after trusts it.
"""

from __future__ import annotations

import math
from enum import Enum

from spakc.ir.ops import ACTIVATIONS
from spakc.ir.types import BYTES, NUMBER, Unit
from spakc.record import record


class Means(Enum):
    """How a proposition is established."""

    proof = "proof"
    guard = "guard"
    compiled = "compiled"
    cases = "cases"
    measurement = "measurement"
    none = "none"


class Place(Enum):
    """Where an expression stands. The value is how a message names it."""

    law = "a law"
    let = "a `let`"  # neutral: a use of the `let` is held to the place of the use
    math = "kernel mathematics"
    declaration = "a declaration"  # shapes, domains, defaults
    tolerance = "a tolerance"
    model = "a model"
    halting = "a halting rule"
    data = "a dataset"
    protocol = "a protocol"
    experiment = "an experiment"
    claim = "a claim"


class Kind(Enum):
    """What an argument may be. The value is how a message names it."""

    value = "a value"
    word = "a word"
    string = "a string"
    tensor = "a tensor"
    kernel = "a kernel"
    subject = "a kernel, a library operation or an experiment"
    trained = "an experiment or a model"
    experiment = "an experiment"
    split = "a split"


@record
class Parameter:
    """`words` may stand for themselves as this argument, when no declared name means something else."""

    name: str
    kind: Kind = Kind.value
    words: tuple[str, ...] = ()
    required: bool = True


@record
class QuerySpec:
    """`bare`: written without parentheses (`cubin.registers`, `loss`). `variadic`: the last positional
    parameter may repeat. `open_named`: named arguments are what the first argument declares (a kernel's dims
    and options). `swept`: named arguments also say at which point of the experiment's sweep. `means` None:
    whatever its arguments need. `unit` None: the unit of its first argument. `least` and `most`: what its value cannot
    fall below or exceed, whatever is measured."""

    name: str
    positional: tuple[Parameter, ...] = ()
    named: tuple[Parameter, ...] = ()
    places: frozenset[Place] = frozenset()
    means: Means | None = Means.none
    result: str = "number"  # number | int | bool | text | value
    unit: Unit | None = NUMBER
    bare: bool = False
    variadic: bool = False
    open_named: bool = False
    swept: bool = False
    least: float = -math.inf
    most: float = math.inf

    @property
    def arity(self) -> tuple[int, int | None]:
        """Fewest and most positional arguments; most is None when there is no limit."""
        fewest = sum(parameter.required for parameter in self.positional)
        return fewest, None if self.variadic else len(self.positional)

    @property
    def signature(self) -> str:
        """How to call it, in words for a message."""
        if self.bare:
            return self.name
        positional = [p.name if p.required else f"[{p.name}]" for p in self.positional]
        named = [f"{p.name} = …" for p in self.named]
        return f"{self.name}({', '.join([*positional, *(['…'] if self.variadic else []), *named])})"


def _optional(name: str, kind: Kind = Kind.value, words: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name, kind, words, required=False)


def _places(*places: Place) -> frozenset[Place]:
    return frozenset(places)


_LAW = _places(Place.law)
_TOLERANCE = _places(Place.tolerance)
_CLAIM = _places(Place.claim)
_MEASURED = _places(Place.claim, Place.protocol, Place.law)
_MODEL = _places(Place.model)
_DATA = _places(Place.data)
_DATA_LAW = _places(Place.data, Place.law)
_PROTOCOL = _places(Place.protocol)
_EXPERIMENT = _places(Place.experiment)

_TENSOR = Parameter("tensor", Kind.tensor)
_X = Parameter("x")
_SPLIT = Parameter("split", Kind.split)

_COMPILED = (
    QuerySpec("cubin.registers", (), (), _LAW, Means.compiled, "int", bare=True),
    QuerySpec("cubin.spill_bytes", (), (), _LAW, Means.compiled, "int", BYTES, bare=True),
    QuerySpec("cubin.count", (Parameter("instruction", Kind.string),), (), _LAW, Means.compiled, "int"),
    QuerySpec("launch.shared_bytes", (), (), _LAW, Means.compiled, "int", BYTES, bare=True),
    QuerySpec("launch.threads", (), (), _LAW, Means.compiled, "int", bare=True),
    QuerySpec("launch.blocks", (), (), _LAW, Means.compiled, "int", bare=True),
)

_KERNEL = (
    QuerySpec(
        "sizeof",
        (_TENSOR,),
        (),
        _places(Place.law, Place.tolerance, Place.declaration),
        Means.proof,
        "int",
        BYTES,
    ),
    QuerySpec("bytes", (_TENSOR,), (), _LAW, Means.cases, "int", BYTES),
    QuerySpec("sectors", (_TENSOR,), (), _LAW, Means.cases, "int"),
    QuerySpec("bank_conflicts", (_TENSOR,), (), _LAW, Means.cases, "int"),
    QuerySpec("library_error", (), (), _TOLERANCE, Means.cases, bare=True, least=0),
    QuerySpec("ulp", (_TENSOR,), (), _TOLERANCE, Means.cases, least=0),
)

_MEASUREMENTS = (
    QuerySpec(
        "speed",
        (Parameter("subject", Kind.subject),),
        (),
        _CLAIM,
        Means.measurement,
        unit=None,
        open_named=True,
        least=0,
    ),
    QuerySpec(
        "time",
        (Parameter("subject", Kind.subject),),
        (),
        _CLAIM,
        Means.measurement,
        unit=Unit(second=1),
        open_named=True,
        least=0,
    ),
    QuerySpec("geomean", (_X,), (), _CLAIM, None, unit=None),
    QuerySpec(
        "accuracy",
        (Parameter("experiment", Kind.experiment), _SPLIT),
        (
            _optional("over", Kind.word, ("all_seeds", "every_seed")),
            _optional("readout", Kind.word, ("last", "exit", "freeze")),
            _optional("loops"),
        ),
        _places(Place.claim, Place.protocol),
        Means.measurement,
        swept=True,
        least=0,
        most=1,
    ),
    QuerySpec(
        "memory",
        (Parameter("experiment", Kind.experiment),),
        (),
        _CLAIM,
        Means.measurement,
        "int",
        BYTES,
        swept=True,
        least=0,
    ),
    QuerySpec(
        "parameters", (Parameter("of", Kind.trained),), (), _MEASURED, Means.proof, "int", swept=True, least=0
    ),
    QuerySpec(
        "flops",
        (Parameter("of", Kind.trained),),
        (),
        _MEASURED,
        Means.proof,
        unit=Unit(flop=1),
        swept=True,
        least=0,
    ),
)

_DATASETS = (
    QuerySpec("digits", (Parameter("count"),), (_optional("below"),), _DATA, Means.none, "int"),
    QuerySpec("digit_sum", (_X,), (), _DATA_LAW, Means.cases, "int"),
    QuerySpec("complement", (_X,), (), _DATA_LAW, Means.cases, "int"),
    QuerySpec("reverse", (_X,), (), _DATA, Means.none, "text"),
    QuerySpec("characters", (Parameter("source"),), (_optional("vocabulary"),), _DATA, Means.none, "text"),
    QuerySpec("corpus", (Parameter("name", Kind.string),), (), _DATA, Means.none, "text"),
    QuerySpec("file", (Parameter("path", Kind.string),), (), _DATA, Means.none, "text"),
    QuerySpec(
        "url",
        (Parameter("address", Kind.string),),
        (Parameter("sha256", Kind.string),),
        _DATA,
        Means.none,
        "text",
    ),
    QuerySpec("text", (), (), _DATA_LAW, Means.cases, "text", bare=True),
    QuerySpec("answer", (Parameter("text"),), (), _DATA_LAW, Means.cases, "text"),
    QuerySpec("number", (Parameter("text"),), (), _DATA_LAW, Means.cases, "int"),
    QuerySpec("disjoint", (_SPLIT, _SPLIT), (), _DATA_LAW, Means.proof, "bool", variadic=True),
    QuerySpec(
        "max_length",
        (_SPLIT,),
        (),
        _places(Place.law, Place.data, Place.model, Place.claim),
        Means.proof,
        "int",
    ),
)

_PROTOCOLS = (
    QuerySpec("loss", (), (), _PROTOCOL, Means.measurement, bare=True),
    QuerySpec("laws", (Parameter("of", Kind.word, ("data", "model")),), (), _PROTOCOL, Means.cases, "bool"),
    QuerySpec("format", (Parameter("of", Kind.word, ("train", "eval")),), (), _PROTOCOL, Means.cases, "text"),
    QuerySpec("decoded", (Parameter("what", Kind.word, ("batch",)),), (), _PROTOCOL, Means.none, "text"),
)

_INDEX = _optional("index", Kind.word, ("position", "digit_run"))

_OPERATIONS = (
    QuerySpec(
        "attention",
        (_X,),
        (
            Parameter("heads"),
            _optional("groups"),
            _optional("causal"),
            _optional("window"),
            _optional("softcap"),
            _optional("bias"),
            _optional("positions", words=("none", "learned")),
        ),
        _MODEL,
        result="value",
    ),
    QuerySpec(
        "norm",
        (_X,),
        (
            _optional("kind", Kind.word, ("rms", "layer")),
            _optional("eps"),
            _optional("weight"),
            _optional("bias"),
        ),
        _MODEL,
        result="value",
    ),
    QuerySpec(
        "mlp",
        (_X,),
        (
            Parameter("hidden"),
            _optional("activation", Kind.word, ACTIVATIONS),
            _optional("bias"),
        ),
        _MODEL,
        result="value",
    ),
    QuerySpec("linear", (_X,), (Parameter("out"), _optional("bias")), _MODEL, result="value"),
    QuerySpec(
        "embed",
        (Parameter("tokens"),),
        (_optional("positions", words=("none", "learned")),),
        _MODEL,
        result="value",
    ),
    QuerySpec("unembed", (_X,), (_optional("tied"), _optional("bias")), _MODEL, result="value"),
    QuerySpec("dropout", (_X, Parameter("rate")), (), _MODEL, result="value"),
    QuerySpec(
        "step",
        (Parameter("index"),),
        (_optional("beyond", Kind.word, ("last", "none")),),
        _MODEL,
        result="value",
    ),
    QuerySpec("longest_run", (Parameter("tokens"),), (), _MODEL, result="int"),
    QuerySpec("rope", (_optional("base"),), (_INDEX,), _MODEL, result="value"),
    QuerySpec("relative", (), (Parameter("clip"), _INDEX, _optional("scale")), _MODEL, result="value"),
    QuerySpec("window", (), (Parameter("clip"), _INDEX, _optional("scale")), _MODEL, result="value"),
    QuerySpec("coupled", (), (_optional("random_offset"), _INDEX), _MODEL, result="value"),
    QuerySpec(
        "after", (Parameter("marker", Kind.string),), (), _places(Place.halting, Place.model), result="bool"
    ),
    QuerySpec("max_probability", (), (), _places(Place.halting), bare=True),
)

_TRAINING = (
    QuerySpec(
        "adamw",
        (),
        (_optional("betas"), _optional("weight_decay"), _optional("eps")),
        _EXPERIMENT,
        result="value",
    ),
    QuerySpec(
        "cosine",
        (),
        (Parameter("peak"), _optional("warmup"), _optional("floor")),
        _EXPERIMENT,
        result="value",
    ),
    QuerySpec("constant", (Parameter("rate"),), (_optional("warmup"),), _EXPERIMENT, result="value"),
)

QUERIES: dict[str, QuerySpec] = {
    spec.name: spec
    for table in (_COMPILED, _KERNEL, _MEASUREMENTS, _DATASETS, _PROTOCOLS, _OPERATIONS, _TRAINING)
    for spec in table
}

BASELINES: dict[str, str] = {
    "torch.matmul": "product",
    "torch.sdpa": "attention",
    "torch.cudnn_attention": "attention",
    "torch.flash_attention": "attention",
    "torch.rms_norm": "rows",
    "torch.layer_norm": "rows",
    "torch.softmax": "rows",
    "torch.cross_entropy": "rows",
    "torch.adamw": "elementwise",
    "torch.compile": "any",
}
"""Library operations that a claim may compare with, each with the kernel family it answers for."""

NAMESPACES = ("device", "cubin", "launch", "torch")
"""Words before a dot that no file declares. A declared name of the same spelling hides them."""
