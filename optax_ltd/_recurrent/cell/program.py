"""A recurrent cell as a traced program, cut by what each equation depends on.

A cell ``(params, carry, x) -> (carry, y)`` is traced once. Its equations fall into
three groups: those of the parameters alone run once per sequence, those of the input
run for all time steps at once ahead of the loop, and only those that need the carry
stay in the loop. The cut also shows which outputs *are* the carry, and which parameters
meet the carry in a product.

What may go wrong, and where it is seen to:

- Aliases. Of an output that is the carry the loss reads h_t itself. Taken for a branch
  beside the carry, what the loss sends there is missing from δ_t, and Ω is of another
  signal: ``aliases``.
- Liveness. A stage is given what its equations read and no more, and the forward pass
  keeps what derivatives read and no more: ``_reads`` and ``known_values``.
- Identity. Values are looked up by the variable object itself. It is written once, and
  the program keeps it alive, so that no other can come to stand for it. A literal is no
  variable and has no hash: whoever looks an operand up asks for that first.
- Custom derivatives. Equations are bound as they were traced, so that rules of a cell's
  own survive. A ``jax.custom_vjp`` has no forward mode, and whoever linearises a step
  has to ask :attr:`CellProgram.has_forward_mode` first.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import JaxprEqn, Literal, Var

from optax_ltd._numerics.leaves import Flags, Leaves
from optax_ltd._recurrent.cell import known_values
from optax_ltd._recurrent.cell.aliases import index_of
from optax_ltd._recurrent.cell.equation_groups import EquationGroups, Group
from optax_ltd._recurrent.cell.equations import (
    evaluate,
    evaluate_over_time,
    has_custom_vjp,
    run_inlined,
)


class _Stage(NamedTuple):
    """Equations that run together.

    Attributes:
      inputs: the variables that they read and do not write.
      equations: in order.
      outputs: the variables and literals that others read.
    """

    inputs: tuple[Var, ...]
    equations: tuple[JaxprEqn, ...]
    outputs: tuple[Any, ...]

    def __call__(self, values: Leaves, known: dict[Var, Any] | None = None) -> Leaves:
        environment = dict(zip(self.inputs, values, strict=True))
        return evaluate(self.equations, environment, self.outputs, known)

    def over_time(
        self,
        constants: Leaves,
        timed: Leaves,
        known: dict[Var, Any] | None = None,
        holds: Flags = (),
    ) -> Leaves:
        """All steps at once; derivatives hold those flagged of the first timed ones."""
        environment = dict(zip(self.inputs, [*constants, *timed], strict=True))
        at_each_step = self.inputs[len(constants) :]
        held = [v for v, hold in zip(at_each_step, holds, strict=False) if hold]
        return evaluate_over_time(
            self.equations, environment, self.outputs, at_each_step, known, held
        )


@dataclasses.dataclass(frozen=True)
class CellProgram:
    """A cell cut into what runs once, ahead of the loop, and in it.

    Attributes:
      closed_over: arrays of any shape that the cell function closed over; they stand
        behind the parameters wherever this class takes parameter leaves.
      output_is_carry: for each output leaf the index of the carry leaf that is the very
        same value, or None.
      recurrent_params: for each parameter leaf, and then for each closed-over array,
        whether it enters a matrix product or convolution with a value that depends on
        the carry.
      output_tree: structure of the cell's output.

    Leaves of parameters and constants have any shape; those of carry, inputs and
    outputs are ``[*batch, ...]`` at one step and ``[T, *batch, ...]`` over time, and
    so is what comes from inputs.
    """

    closed_over: tuple[Any, ...]
    output_is_carry: tuple[int | None, ...]
    recurrent_params: tuple[bool, ...]
    output_tree: Any
    _once: _Stage
    _ahead: _Stage
    _step: _Stage
    _num_carry: int
    _kept: tuple[Var, ...]

    @property
    def carry_types(self) -> tuple[Any, ...]:
        """The type of each leaf of the carry that a step returns, as JAX has it."""
        return tuple(v.aval for v in self._step.outputs[: self._num_carry])

    @property
    def has_forward_mode(self) -> bool:
        """Whether no part of a step has a reverse mode of its own only."""
        return not any(map(has_custom_vjp, self._step.equations))

    @property
    def in_loop(self) -> tuple[JaxprEqn, ...]:
        """The equations of one step of the loop."""
        return self._step.equations

    def once(self, params: Leaves) -> Leaves:
        """Values of the parameters alone that the loop reads."""
        return self._once(params)

    def ahead(self, params: Leaves, inputs: Leaves) -> Leaves:
        """Values of the inputs, for all time steps, that the loop reads."""
        return self._ahead.over_time(params, inputs) if inputs else []

    def step(
        self,
        constants: Leaves,
        carry: Leaves,
        ahead: Leaves,
        saved: Leaves | None = None,
    ) -> tuple[Leaves, Leaves]:
        """One step of the loop: the new carry leaves and the output leaves.

        Args:
          constants: from :meth:`once`.
          carry: ``[*batch, ...]`` each, the carry before the step.
          ahead: one time step of :meth:`ahead`.
          saved: one time step of :meth:`saved`, of a step at the same arguments; values
            that need not be computed again, while derivatives stay those of the cell.
        """
        known = self._known(saved)
        return self._parted(self._step([*constants, *carry, *ahead], known))

    def over_time(
        self,
        constants: Leaves,
        carries: Leaves,
        ahead: Leaves,
        saved: Leaves,
        *,
        holds: Flags = (),
    ) -> tuple[Leaves, Leaves]:
        """As :meth:`step`, for all time steps at once; all but constants over time.

        Derivatives do not move with the leaves of the carry that are flagged in
        `holds`; see `held_slopes`.
        """
        timed, known = [*carries, *ahead], self._known(saved)
        return self._parted(self._step.over_time(constants, timed, known, holds))

    def step_and_save(
        self, constants: Leaves, carry: Leaves, ahead: Leaves
    ) -> tuple[Leaves, Leaves, Leaves]:
        """As :meth:`step`, and the costly values that are not among the outputs."""
        stage = self._step._replace(outputs=(*self._step.outputs, *self._hidden()))
        out = stage([*constants, *carry, *ahead])
        end = len(self._step.outputs)
        return *self._parted(out[:end]), out[end:]

    def saved(self, outputs: Leaves, hidden: Leaves) -> Leaves:
        """All costly values, from the outputs and what :meth:`step_and_save` gave."""
        names = [*self._step.outputs[self._num_carry :], *self._hidden()]
        pairs = zip(names, [*outputs, *hidden], strict=True)
        values = {v: x for v, x in pairs if not isinstance(v, Literal)}
        return [values[v] for v in self._kept]

    def _hidden(self) -> list[Var]:
        outputs = self._step.outputs[self._num_carry :]
        return [v for v in self._kept if index_of(v, outputs) is None]

    def _known(self, saved: Leaves | None) -> dict[Var, Any] | None:
        if saved is None:
            return None
        return dict(zip(self._kept, saved, strict=True))

    def _parted(self, out: Leaves) -> tuple[Leaves, Leaves]:
        return out[: self._num_carry], out[self._num_carry :]


def trace_cell(
    cell_fn: Callable[..., Any], params: Any, carry: Any, x: Any, *, hoist: bool = True
) -> CellProgram:
    """Traces a cell at the shapes of its arguments and cuts it.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``.
      params: tree of arrays.
      carry: tree of arrays or ShapeDtypeStructs, ``[B, ...]``.
      x: tree of arrays or ShapeDtypeStructs, one time step, ``[B, ...]``.
      hoist: whether products of the inputs may run ahead of the loop, for all steps.

    Returns:
      The program.

    Raises:
      ValueError: if the cell changes the structure or the shapes of the carry.
    """
    trees: dict[str, Any] = {}

    def flat_cell(*leaves: Any) -> Leaves:
        new_carry, y = cell_fn(*jax.tree.unflatten(trees["in"], leaves))
        carry_leaves, trees["carry"] = jax.tree.flatten(new_carry)
        output_leaves, trees["output"] = jax.tree.flatten(y)
        return [*carry_leaves, *output_leaves]

    leaves, trees["in"] = jax.tree.flatten((params, carry, x))
    closed = jax.make_jaxpr(flat_cell)(*leaves)
    closed_over = tuple(closed.consts)

    def inlined(*args: Any) -> Leaves:
        return run_inlined(
            closed.jaxpr, args[: len(closed_over)], args[len(closed_over) :]
        )

    jaxpr = jax.make_jaxpr(inlined)(*closed_over, *leaves)
    counts = [len(jax.tree.leaves(tree)) for tree in (params, carry, x)]
    _check_carry(carry, trees["carry"], closed.out_avals[: counts[1]])
    return _cut(jaxpr, closed_over, counts, trees["output"], hoist)


def as_pair(out: Any) -> tuple[Any, Any]:
    """What a cell returned, if that is ``(carry, output)``; raises ValueError."""
    if isinstance(out, tuple) and len(out) == 2:
        return out
    what = f"{len(out)} values" if isinstance(out, tuple) else type(out).__name__
    raise ValueError(f"the cell must return a pair (carry, output); got {what}.")


def _check_carry(carry: Any, returned_tree: Any, returned: Sequence[Any]) -> None:
    tree = jax.tree.structure(carry)
    if tree != returned_tree:
        raise ValueError(
            "the cell must return a carry of the structure it was given: required "
            f"{tree}; got {returned_tree}."
        )
    paths = jax.tree_util.tree_leaves_with_path(carry)
    for (path, leaf), aval in zip(paths, returned, strict=True):
        if leaf.shape != aval.shape:
            raise ValueError(
                "the cell must return a carry of the shapes it was given: "
                f"carry{jax.tree_util.keystr(path)} has shape {leaf.shape}; got "
                f"{aval.shape}."
            )


def _cut(
    closed: Any,
    closed_over: tuple[Any, ...],
    counts: list[int],
    output_tree: Any,
    hoist: bool,
) -> CellProgram:
    """Cuts a flat jaxpr whose inputs are closed-over arrays, params, carry and x."""
    jaxpr = closed.jaxpr
    num_params, num_carry, _ = counts
    start = len(closed_over)
    invars = list(jaxpr.invars)
    # Those that an inner jit held are closed over as well.
    params = (*invars[start : start + num_params], *invars[:start], *jaxpr.constvars)
    carry = tuple(invars[start + num_params : start + num_params + num_carry])
    xs = tuple(invars[start + num_params + num_carry :])

    groups = EquationGroups(params, xs, carry, hoist=hoist)
    for equation in jaxpr.eqns:
        groups.add(equation)
    once, ahead, step = (tuple(groups.equations[group]) for group in Group)
    read = _reads(step, jaxpr.outvars)
    constants, from_inputs = (
        tuple(v for v in groups.variables(group) if v in read)
        for group in (Group.ONCE, Group.AHEAD)
    )
    carry_out, outputs = jaxpr.outvars[:num_carry], jaxpr.outvars[num_carry:]
    return CellProgram(
        closed_over=(*closed_over, *closed.consts),
        output_is_carry=tuple(index_of(v, carry_out) for v in outputs),
        recurrent_params=groups.meet_carry(params),
        output_tree=output_tree,
        _once=_Stage(params, once, constants),
        _ahead=_Stage((*params, *xs), (*once, *ahead), from_inputs),
        _step=_Stage((*constants, *carry, *from_inputs), step, tuple(jaxpr.outvars)),
        _num_carry=num_carry,
        _kept=known_values.worth_keeping(step),
    )


def _reads(equations: Sequence[JaxprEqn], outvars: Sequence[Any]) -> set[Any]:
    read = {v for e in equations for v in e.invars if not isinstance(v, Literal)}
    return read | {v for v in outvars if not isinstance(v, Literal)}
