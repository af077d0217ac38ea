"""Words of the surface that the grammar's tables know but cannot explain."""

# Where a statement may begin with a name, these words mean something else: after an expression they continue
# it, or they begin an operand or a statement of their own. A value of such a name could be declared but not
# assigned, configured or defined. A test derives the set from the parse tables.
UNUSABLE_NAMES = frozenset(
    ("and", "or", "not", "in", "step", "then", "true", "false", "inf", "repeat", "loop")
)
