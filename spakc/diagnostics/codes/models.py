"""SPAK5xx: 501 to 519 models, 520 to 529 datasets, 530 to 558 protocols, experiments and claims, 559 and
560 a run."""

from spakc.diagnostics.codes.entry import Code


def _model(
    *,
    items: str = "",
    hyper: str = "hyper width = 8",
    part: str = "y = x + mlp(norm(x), hidden = 4 * width)",
    forward: str = "x = block(embed(tokens))  logits = unembed(norm(x), tied = true)",
    tokens: str = "tokens: int [B, T]",
) -> str:
    """A small model with one thing changed."""
    return (
        f"spak 1\nmodel M {{\n  {hyper}\n"
        + (f"  {items}\n" if items else "")
        + f"  part block(x: [B, T, width]) -> y: [B, T, width] {{ {part} }}\n"
        + (f"  forward({tokens}) -> logits: [B, T, vocab] {{ {forward} }}\n" if forward else "")
        + "}\n"
    )


_KERNEL = (
    "spak 1\nkernel k: elementwise {\n  dim N  input x: f32 [N]  output y: f32 [N]\n"
    "  math { y[i] = x[i] }\n  schedule s { }\n}\n"
)
_LOOP = (
    "x0 = embed(tokens)  loop l in 1..{loops} carry x = x0 {{ x = block(x + step({step})) }}  "
    "logits = read(x)"
)
_READ = "part read(x: [B, T, width]) -> z: [B, T, vocab] { z = unembed(norm(x), tied = true) }"


def _loop(items: str = "", loops: str = "4", step: str = "l") -> str:
    return _model(items=f"{_READ}  {items}", forward=_LOOP.format(loops=loops, step=step))


def _data(
    sample: str = "digits(n)",
    text: str = 'a, "=", reverse(a), end',
    rest: str = 'loss after "="',
    splits: str = "split train n in 1..4  split far n in 5..6",
) -> str:
    """A small dataset with one thing changed."""
    return f"spak 1\ndataset d {{\n  sample a: {sample}\n  text {text}\n  {rest}\n  {splits}\n}}\n"


_TRAIN = "train(steps = 10, batch = 4, seeds = {0})"


def _experiment(
    *,
    model: str = "model M(width = 16)",
    data: str = "data d",
    train: str = _TRAIN,
    optimizer: str = "optimizer adamw(weight_decay = 0.1)",
    lr: str = "lr cosine(peak = 1e-3)",
    rest: str = "",
    before: str = "",
    after: str = "",
) -> str:
    """A small experiment with one thing changed."""
    lines = [line for line in (model, data, train, optimizer, lr, rest) if line]
    body = "\n  ".join(lines)
    return _model() + _data()[len("spak 1\n") :] + f"{before}experiment e {{\n  {body}\n}}\n{after}"


def _protocol(gates: str, *, rest: str = "protocol p") -> str:
    return _experiment(before=f"protocol p {{ {gates} }}\n", rest=rest)


def _by_input(rest: str) -> str:
    """An experiment of a model that loops as often as its input asks for."""
    loop = "loop l in 1..longest_run(tokens) + 1 carry x = x0 { x = block(x + x0) }"
    loop = f"x0 = embed(tokens)  {loop}  logits = read(x)"
    experiment = _experiment(model="model M")
    return (
        _model(items=_READ, forward=loop)
        + _data(rest=rest)[7:]
        + experiment[experiment.index("experiment e") :]
    )


_MODELS: tuple[Code, ...] = (
    Code(
        "SPAK501",
        "two shapes do not fit together",
        "Shapes of models are inferred line by line over the hypers, B, T and vocab. Two sizes agree when "
        "they are the same polynomial: `4 * n` and `n * 4` do, `n` and `2 * n` do not. What a part "
        "declares, and what a repetition carries on, must come back with the same shape.",
        wrong=_model(part="y = x + linear(x, out = 2 * width)"),
        right=_model(part="y = x + linear(x, out = width)"),
    ),
    Code(
        "SPAK502",
        "a wrong number of axes or values",
        "Tokens are [B, T], the values between operations [B, T, width]. A part takes as many values as it "
        "declares.",
        wrong=_model(forward="x = block(embed(tokens), embed(tokens))  logits = unembed(x, tied = false)"),
        right=_model(forward="x = block(embed(tokens))  logits = unembed(x, tied = false)"),
    ),
    Code(
        "SPAK503",
        "a width that the model never says",
        "`embed` and `step` take their width from the first use that has one: a part's declared shape, or a"
        " value that is added.",
        wrong=_model(forward="logits = unembed(norm(embed(tokens)), tied = true)"),
        right=_model(),
    ),
    Code(
        "SPAK504",
        "a result that is never assigned",
        "The name behind `->` is what the part or forward hands back; its body must assign it.",
        wrong=_model(part="z = x"),
        right=_model(part="y = x"),
    ),
    Code(
        "SPAK505",
        "a model without forward",
        "`forward(tokens: int [B, T]) -> logits: [B, T, vocab]` says what the model computes; parts are "
        "only used by it.",
        wrong=_model(forward=""),
        right=_model(),
    ),
    Code(
        "SPAK506",
        "said twice in a model",
        "A model has one forward, one `halting` and one `supervise`, and a halting rule sets each of its "
        "keys once.",
        wrong=_loop("supervise read at l in 2..4  supervise read at l in 3..4"),
        right=_loop("supervise read at l in 2..4"),
    ),
    Code(
        "SPAK507",
        "`uses` names no kernel",
        "`uses K for op` gives an operation of the model to a kernel of this file or of one that it uses.",
        wrong=_model(items="uses M for linear"),
        right=_model(items="let other = 1"),
    ),
    Code(
        "SPAK508",
        "an operation that models do not have",
        "A kernel may be used for `attention`, `norm` and `linear`. The products of `mlp`, of attention's "
        "projections and of `unembed` are `linear`.",
        wrong=_KERNEL + _model(items="uses k for matmul")[len("spak 1\n") :],
        right=_model(),
    ),
    Code(
        "SPAK509",
        "two kernels for one operation",
        "An operation is computed by one kernel. Its schedules are where the choice lies.",
        wrong=_KERNEL + _model(items="uses k for linear  uses k for linear")[len("spak 1\n") :],
        right=_model(),
    ),
    Code(
        "SPAK510",
        "a type that a model's value cannot have",
        "Tokens are `int`. Every other value has the precision that the experiment trains in, so it has no "
        "type.",
        wrong=_model(tokens="tokens: bf16 [B, T]"),
        right=_model(),
    ),
    Code(
        "SPAK511",
        "a hyper is assigned",
        "Hypers are chosen by experiments and stand still while the model computes.",
        wrong=_model(part="width = x  y = x"),
        right=_model(part="wide = x  y = wide"),
    ),
    Code(
        "SPAK512",
        "forward takes something else than tokens",
        "A model is a function of tokens alone: `forward(tokens: int [B, T])`.",
        wrong=_model(tokens="tokens: [B, T]"),
        right=_model(),
    ),
    Code(
        "SPAK513",
        "a loop or its step that cannot be built",
        "A loop counts from 1 in steps of 1, stands in no other loop, and `step` takes its index: each "
        "number is one application of the shared block, and one learned vector.",
        wrong=_loop(step="2"),
        right=_loop(),
    ),
    Code(
        "SPAK514",
        "embedding and unembedding do not fit",
        "Tokens are embedded in forward. `unembed(…, tied = true)` shares the one embedding of the model, "
        "and so has no bias of its own.",
        wrong=_model(
            forward="x = block(embed(tokens) + embed(tokens))  logits = unembed(norm(x), tied = true)"
        ),
        right=_model(),
    ),
    Code(
        "SPAK515",
        "positions that cannot be built here",
        "Positions are `rope(base)`, `learned`, `none`, `relative(clip = …)`, `window(clip = …)` or "
        "`coupled(…)`. Those that compare two places belong to `attention`; `relative`, `window` and "
        "`coupled` count in runs of digits and look to the left.",
        wrong=_model(part="y = x + attention(x, heads = 2, positions = 3)"),
        right=_model(part="y = x + attention(x, heads = 2, positions = rope(10_000))"),
    ),
    Code(
        "SPAK516",
        "supervision of what is no loop's state",
        "`supervise part at l in first .. last` reads the state of the one loop of forward through a part "
        "that takes it alone.",
        wrong=_model(items="supervise block at l in 2..4"),
        right=_loop("supervise read at l in 2..4"),
    ),
    Code(
        "SPAK517",
        "known only while the model runs, or no operation on tensors",
        "Counts, sizes and the conditions of `where` are over hypers: they are known before training. "
        "Between tensors there are + - * / and element-wise functions; comparisons, remainders and rounding"
        " are none of them.",
        wrong=_model(part="y = x % 2"),
        right=_model(part="y = x * 2"),
    ),
    Code(
        "SPAK518",
        "a switch or a hyper of the wrong kind",
        "`causal`, `tied`, `bias` and `weight` are `true` or `false` in the text, since they change what "
        "the model is made of. A hyper is a number or a truth value.",
        wrong=_model(part="y = x + attention(x, heads = 2, causal = 1)"),
        right=_model(part="y = x + attention(x, heads = 2, causal = true)"),
    ),
    Code(
        "SPAK519",
        "a halting rule that cannot be followed",
        "Halting needs `supervise` and a `threshold` for `confidence = max_probability`; `mode` is exit or "
        "freeze, `earliest` a number of loops, `after` waits for one token.",
        wrong=_loop("supervise read at l in 2..4  halting { mode = exit }"),
        right=_loop("supervise read at l in 2..4  halting { mode = exit  threshold = 0.9 }"),
    ),
)

_DATASETS: tuple[Code, ...] = (
    Code(
        "SPAK520",
        "a dataset has one text",
        "`text` says what a document is: strings, numbers and `end`, or the characters of a corpus.",
        wrong="spak 1\ndataset d { sample a: digits(n)  split train n in 1..4 }\n",
        right=_data(),
    ),
    Code(
        "SPAK521",
        "said twice in a dataset",
        "`loss after` and `answer` hold for the whole dataset, so each is said once.",
        wrong=_data(rest='loss after "="  loss after "="'),
        right=_data(),
    ),
    Code(
        "SPAK522",
        "an unknown way to answer",
        "An answer is written one token after another (`autoregressive`), or all at once (`parallel`).",
        wrong=_data(rest='loss after "="  answer sideways'),
        right=_data(rest='loss after "="  answer autoregressive'),
    ),
    Code(
        "SPAK523",
        "a dataset without a split",
        "Splits say what is trained on and what is evaluated: `split train n in 1..4`.",
        wrong='spak 1\ndataset d { text "a", end }\n',
        right=_data(),
    ),
    Code(
        "SPAK524",
        "a corpus that cannot be read like this",
        '`characters(corpus("module"))` is text that comes with Python, `characters(file("…"))` a file beside '
        'the `.spak` file, `characters(url("…", sha256 = "…"))` text from elsewhere, held to its hash of 64 '
        "hexadecimal digits. It is the whole text of its dataset. `vocabulary = n` fills the vocabulary up to n.",
        wrong='spak 1\ndataset d { text characters(corpus("this")), end  split train fraction 90% }\n',
        right='spak 1\ndataset d { text characters(corpus("this"))  split train fraction 90% }\n',
    ),
    Code(
        "SPAK525",
        "fractions that do not fit",
        "The splits of a corpus are fractions of it, one after another, at most the whole; drawn documents "
        "have none.",
        wrong='spak 1\ndataset d { text characters(corpus("pydoc_data.topics"))\n'
        "  split train fraction 90%  split test fraction 20% }\n",
        right='spak 1\ndataset d { text characters(corpus("pydoc_data.topics"))\n'
        "  split train fraction 90%  split test fraction 10% }\n",
    ),
    Code(
        "SPAK526",
        "nothing that can be drawn",
        "A sample is `digits(n)`: a number of exactly n digits, uniform. n is a parameter of the splits, a "
        "number, or a range of them.",
        wrong=_data(sample="n + 1"),
        right=_data(sample="digits(n)"),
    ),
    Code(
        "SPAK527",
        "a text that cannot be written",
        "A text is made of strings without digits, numbers over samples with `+`, `*`, `%` by a constant, "
        "`digit_sum(…)` and `complement(…)`, `reverse(…)` of one, and closes with one `end`, which belongs to the "
        "answer.",
        wrong=_data(text='a, "=", a'),
        right=_data(text='a, "=", a, end'),
    ),
    Code(
        "SPAK528",
        "the loss begins nowhere, or twice",
        "`loss after` names a string that the text has exactly once: what follows is the answer.",
        wrong=_data(rest='loss after ":"'),
        right=_data(rest='loss after "="'),
    ),
    Code(
        "SPAK529",
        "parameters of a split that cannot be drawn",
        "A split binds every parameter that a sample uses, to whole numbers; a number has at least one "
        "digit.",
        wrong=_data(splits="split train n in 0..4"),
        right=_data(splits="split train n in 1..4"),
    ),
)

_EXPERIMENTS: tuple[Code, ...] = (
    Code(
        "SPAK530",
        "a gate trains once",
        "Gates run in order; what is to be trained twice is two gates.",
        wrong=_protocol("gate g { train(steps = 10, batches = 1)  train(steps = 20, batches = 1) }"),
        right=_protocol("gate g { train(steps = 10, batches = 1) }"),
    ),
    Code(
        "SPAK531",
        "a setting without a name",
        "Everything configurable is `key = value`.",
        wrong=_experiment(train="train(10, batch = 4, seeds = {0})"),
        right=_experiment(),
    ),
    Code(
        "SPAK532",
        "a setting is said twice",
        "Of two values one would be lost without a word.",
        wrong=_experiment(rest="lr cosine(peak = 2e-3)"),
        right=_experiment(),
    ),
    Code(
        "SPAK533",
        "experiments are like each other in a circle",
        "`like` inherits from another experiment; following it must end at one that stands alone.",
        wrong=_experiment(after="experiment f like g { }\nexperiment g like f { }\n"),
        right=_experiment(after="experiment f like e { }\n"),
    ),
    Code(
        "SPAK534",
        "an experiment without a model",
        "`model M(hyper = value)` says what is trained.",
        wrong=_experiment(model=""),
        right=_experiment(),
    ),
    Code(
        "SPAK535",
        "a name of another kind is expected",
        "An experiment names a model, datasets, a protocol, an experiment that it is like.",
        wrong=_experiment(data="data M"),
        right=_experiment(),
    ),
    Code(
        "SPAK536",
        "an experiment without data",
        "`data D` says what it is trained and evaluated on.",
        wrong=_experiment(data=""),
        right=_experiment(),
    ),
    Code(
        "SPAK540",
        "a confidence that no interval has",
        "A confidence lies between 0% and 100%, both excluded.",
        wrong="spak 1\nclaim c: 1 < 2 with confidence 100%\n",
        right="spak 1\nclaim c: 1 < 2 with confidence 95%\n",
    ),
    Code(
        "SPAK541",
        "splits that cannot be disjoint",
        "`disjoint` is proved where some sample has other digit counts in each split; else training leaves "
        "out what evaluation holds, and it is tested. A split is not disjoint from itself, and what else is to be "
        "so of the data is a law of its own.",
        wrong=_data(rest='loss after "="  law no_leak: disjoint(train, train)'),
        right=_data(rest='loss after "="  law no_leak: disjoint(train, far)'),
    ),
    Code(
        "SPAK542",
        "more than one dataset",
        "A vocabulary and a text belong to one dataset. What is to be mixed are its splits: "
        "`split rare n in 5..6 weight 10%`.",
        wrong=_experiment(data="data d, d"),
        right=_experiment(),
    ),
    Code(
        "SPAK543",
        "an unknown setting",
        "Hypers are those of the model; `train` knows steps, batch, context, seeds, precision, clip, "
        "eval_every and keep; a gate's also batches; `adamw` betas, weight_decay and eps; `cosine` peak, "
        "warmup and floor.",
        wrong=_experiment(model="model M(wide = 16)"),
        right=_experiment(),
    ),
    Code(
        "SPAK544",
        "a profile sets something else",
        "A profile changes `model.hyper`, `train.key`, `optimizer` and `lr` (whole, or key by key).",
        wrong=_experiment(rest="profile cpu { data.train = 3 }"),
        right=_experiment(rest="profile cpu { train.steps = 3 }"),
    ),
    Code(
        "SPAK545",
        "a sweep without a known number of points",
        "`vary` runs over finite domains, at most 4096 points in all.",
        wrong=_experiment(rest="vary width in 1..5000"),
        right=_experiment(rest="vary width in {8, 16}"),
    ),
    Code(
        "SPAK546",
        "a value that a hyper cannot have",
        "Hypers are numbers or truth values of the kind of their default, over earlier hypers, and the "
        "sizes that follow from them are whole numbers.",
        wrong=_experiment(model="model M(width = true)"),
        right=_experiment(),
    ),
    Code(
        "SPAK547",
        "a setting is missing",
        "`train` needs steps, batch and seeds (and context for a corpus); an experiment needs an optimizer "
        "and a rate.",
        wrong=_experiment(train="train(steps = 10, seeds = {0})"),
        right=_experiment(),
    ),
    Code(
        "SPAK548",
        "a value that a setting cannot have",
        "Steps, batch and context are positive whole numbers, seeds whole numbers from 0 on, rates and "
        "decays numbers from 0 on, precision `bf16` or `f32`, keep `last`.",
        wrong=_experiment(train="train(steps = 0, batch = 4, seeds = {0})"),
        right=_experiment(),
    ),
    Code(
        "SPAK549",
        "an optimizer or a rate that nobody has",
        "The optimizer is `adamw(…)`; the rate `cosine(peak = …)`, `constant(rate)` or a number.",
        wrong=_experiment(lr="lr (1, 2)"),
        right=_experiment(),
    ),
    Code(
        "SPAK550",
        "a split that the data do not have",
        "A protocol speaks of the splits of whatever experiment runs it; this experiment's data have no "
        "such split.",
        wrong=_protocol(
            "gate g { train(keep = last)  require accuracy(self, train) >= 99% else hide nowhere }"
        ),
        right=_protocol("gate g { train(keep = last)  require accuracy(self, train) >= 99% else hide far }"),
    ),
    Code(
        "SPAK551",
        "a gate asks for what is not measured yet",
        "`loss` and `accuracy` are known after a gate that trains, and gates run in order. What a gate shows is "
        "something of the run: `decoded(batch)`, `loss`.",
        wrong=_protocol("gate g { require loss < 0.1 }"),
        right=_protocol("gate g { train(steps = 10, batches = 1)  require loss < 0.1 }"),
    ),
    Code(
        "SPAK552",
        "a model of sizes that cannot be built",
        "With the hypers of an experiment, or of one of its profiles, some size of its model is none: a width "
        "below 1, heads that do not share out the width evenly, more parameters than any machine holds.",
        wrong=_experiment(model="model M(width = -16)"),
        right=_experiment(),
    ),
    Code(
        "SPAK553",
        "a sample that a split cannot give",
        "`split … with b = complement(a) + 1` gives a sample that other splits draw: a sample of the dataset, once, "
        "and over samples that this split draws.",
        wrong=_data(splits="split train n in 1..4  split far n in 5..6 with b = complement(a)"),
        right=_data(splits="split train n in 1..4"),
    ),
    Code(
        "SPAK554",
        "a sweep without its point",
        "Each point of `vary` is an experiment of its own: runs of different points are no seeds of one another. A "
        "claim about a sweep says which point it means, with a value for every name that varies; `for every` may run "
        "over them.",
        wrong=_experiment(
            model="model M", rest="vary width in {16, 32}", after="claim small: parameters(e) <= 100_000\n"
        ),
        right=_experiment(
            model="model M",
            rest="vary width in {16, 32}",
            after="claim small: parameters(e, width = 16) <= 100_000\n",
        ),
    ),
    Code(
        "SPAK555",
        "loops by an input that holds the answer",
        "`loop l in 1..longest_run(tokens) + 1` runs as often as the longest number of a document asks for. Where an "
        "answer is written token by token it is part of the input, and its length would be told before it is "
        "written.",
        wrong=_by_input('loss after "="'),
        right=_by_input('loss after "="  answer parallel'),
    ),
    Code(
        "SPAK559",
        "a run cannot go on",
        "A corpus is missing or has another hash than the file says, a profile or a point of a sweep is "
        "unknown, data cannot be drawn, or a kernel does not compute what the model uses it for. The "
        "message says which.",
        wrong='text characters(file("poems.txt"))   # and no poems.txt beside the file',
        right='text characters(file("poems.txt"))   # with poems.txt beside the file',
    ),
    Code(
        "SPAK560",
        "an experiment or a profile that the file does not have",
        "`spakc run` takes names of experiments of the file, and a profile that all of them have. Without "
        "names it runs every experiment of the root file that is no sweep.",
        wrong="spakc run addition.spak looplm_13",
        right="spakc run addition.spak looplm_12 --profile cpu",
    ),
    Code(
        "SPAK561",
        "a strict run met a kernel that the file does not account for",
        "With `--strict` every kernel that a training step runs on the GPU is the artifact's, or what no kernel "
        "can be given (embeddings, residual sums, the norm of the gradient), listed by its place. An operation "
        "that a kernel could compute (attention, linear, norm, rotation, activation, loss, optimizer) must not be "
        "torch's, whether the file names a kernel for it or not. What is known of that beforehand is said before "
        "anything is trained. The table says who computed what, and why.",
        wrong="spakc run addition.spak gpt_12 --strict   # n_embd = 96, n_head = 4: heads of width 24",
        right="spakc run addition.spak gpt_12 --strict   # n_embd = 768, n_head = 12: heads of width 64",
    ),
    Code(
        "SPAK562",
        "nothing trained to sample from",
        "`spakc sample` reads the weights that `spakc run` left in the output folder, under the same profile, "
        "or those that `--checkpoint` names.",
        wrong='spakc sample nanogpt.spak baby --prompt "The "   # before any run',
        right='spakc run nanogpt.spak baby && spakc sample nanogpt.spak baby --prompt "The "',
    ),
    Code(
        "SPAK563",
        "fewer GPUs than asked for",
        "`spakc run --gpus N` shares out every batch of a run over N GPUs of this machine, one process each, and "
        "does one run after the other. A run on fewer would sum in another order and end in other bits, so it is "
        "not done instead.",
        wrong="spakc run nanogpt.spak gpt2 --gpus 8   # on a machine with two",
        right="spakc run nanogpt.spak gpt2 --gpus 2",
    ),
    Code(
        "SPAK564",
        "another run is at work in the output folder",
        "Two runs would write the same logs and checkpoints, so `spakc run` holds a lock in its output folder "
        "(`.spak-lock`). The lock is the operating system's and ends with its process, however that ends: there is "
        "nothing to delete after a kill.",
        wrong="spakc run addition.spak &  spakc run addition.spak",
        right="spakc run addition.spak &  spakc run addition.spak -o out/again",
    ),
)

TABLE: tuple[Code, ...] = (*_MODELS, *_DATASETS, *_EXPERIMENTS)
