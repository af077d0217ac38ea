"""Colours for Pygments. Generated from grammar/spak.lark by `make docs`; do not edit."""

# ruff: noqa
# fmt: off
# mypy: ignore-errors
from __future__ import annotations

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace


class SpakLexer(RegexLexer):
    """`.spak` files."""

    name = "SPAK"
    aliases = ["spak"]
    filenames = ["*.spak"]

    tokens = {
        "root": [
            (r"\s+", Whitespace),
            ('#[^\n]*', Comment.Single),
            ('"(\\\\["\\\\nt]|[^"\\\\\n])*"', String.Double),
            ('[0-9]+(_[0-9]+)*(\\.[0-9]+)?[ ]?(KiB|MiB|GiB|GHz|us|ms|sec|GB\\/s|TB\\/s|TFLOP\\/s|tokens\\/s)(?![A-Za-z0-9_])', Number),
            ('[0-9]+(_[0-9]+)*(\\.[0-9]+)?%', Number),
            ('[0-9]+(_[0-9]+)*(\\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)(?![A-Za-z0-9_])', Number.Float),
            ('[0-9]+(_[0-9]+)*(?![A-Za-z0-9_])', Number.Integer),
            ('(accumulate|answer|claim|config|dataset|device|experiment|gate|hyper|implement|kernel|knob|law|let|loop|model|option|part|profile|protocol|sample|schedule|split|supervise|uses)(\\s+)([A-Za-z_][A-Za-z0-9_]*)', bygroups(Keyword.Declaration, Whitespace, Name.Class)),
            ('\\b(?:accumulate|answer|claim|config|dataset|device|experiment|gate|hyper|implement|kernel|knob|law|let|loop|model|option|part|profile|protocol|sample|schedule|split|supervise|uses|after|as|at|because|carry|cases|confidence|data|dim|else|every|for|forward|fraction|from|gradient|halting|hide|inout|input|intent|launch|layout|like|loss|lr|math|needs|on|optimizer|optional|output|owns|prefer|repeat|require|roles|shapes|show|size|spak|step|targets|text|then|tolerance|train|use|values|vary|verify|weight|when|with|wrt)\\b(?!\\s*[=.,:)\\]|])', Keyword),
            ('\\b(?:and|or|not|in)\\b', Operator.Word),
            ('\\b(?:true|false|inf)\\b', Keyword.Constant),
            ('\\b(?:bf16|bool|f16|f32|f64|int|int32|int64)\\b', Keyword.Type),
            ('[A-Za-z_][A-Za-z0-9_]*(?=[(\\[])', Name.Function),
            ('[A-Za-z_][A-Za-z0-9_]*', Name),
            ('!=|->|\\.\\.|//|<=|==|>=|%|\\*|\\+|-|\\.|/|<|=|>|\\|', Operator),
            ('[(){}\\[\\],:]', Punctuation),
        ]
    }
