"""A GPU on a machine that has none: tensors with shape, type and device, and no values.

`cuda` computes forward as torch's fake tensors do, which refuse to mix devices; their gradients are zeros, for torch
cannot run a backward there. `meta` runs the backward too, and a mode of ours refuses to mix.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPIES = ("_to_copy", "copy_", "_has_compatible_shallow_copy_type")


class OneDevice(TorchDispatchMode):
    """Refuses operations, other than copies, on tensors of several devices; single numbers may be on the CPU."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        if len({t.device for t in tensors}) > 1 and operation.overloadpacket.__name__ not in COPIES:
            raise RuntimeError(f"{operation}: tensors on the devices {[str(t.device) for t in tensors]}")
        return operation(*args, **(kwargs or {}))


@contextlib.contextmanager
def gpu(device: str) -> Iterator[list[tuple[str, torch.dtype | None, bool]]]:
    """While inside there is a `device`, `cuda` or `meta`, whose tensors have no values: reading one gives a number that
    means nothing. Gives the autocasts that were asked for: device, type, whether enabled.
    """
    asked: list[tuple[str, torch.dtype | None, bool]] = []

    def autocast(
        device: str, dtype: torch.dtype | None = None, enabled: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        asked.append((device, dtype, enabled))
        return contextlib.nullcontext()

    with contextlib.ExitStack() as stack:
        for patch in (_chosen(), *_reading(), *(_as_cuda() if device == "cuda" else _as_meta())):
            stack.enter_context(patch)
        stack.enter_context(mock.patch.object(torch, "autocast", autocast))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else OneDevice())
        yield asked


def pretended(value: Any) -> bool:
    """Whether a tensor has no values."""
    return isinstance(value, FakeTensor) or (isinstance(value, torch.Tensor) and value.is_meta)


def values(tensor: torch.Tensor) -> np.ndarray:
    """Some of a tensor's shape and type."""
    random, shape = np.random.default_rng(0), tuple(tensor.shape)
    if tensor.dtype.is_floating_point:
        return random.standard_normal(shape).astype(torch.empty(0, dtype=tensor.dtype).numpy().dtype)
    return np.ones(shape, torch.empty(0, dtype=tensor.dtype).numpy().dtype)


def real(model: torch.nn.Module) -> torch.nn.Module:
    """The model on the CPU, pretended weights as zeros."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, old in held.items():
                if old is not None and (pretended(old) or pretended(old.data)):
                    new = torch.zeros(tuple(old.shape), dtype=old.dtype)
                    held[name] = torch.nn.Parameter(new) if held is module._parameters else new
    return model


def _instead(name: str, method: Callable[..., Any]) -> contextlib.AbstractContextManager[Any]:
    stock = getattr(torch.Tensor, name)
    return mock.patch.object(
        torch.Tensor, name, lambda self, *a, **k: (method if pretended(self) else stock)(self, *a, **k)
    )


def _reading() -> Iterator[contextlib.AbstractContextManager[Any]]:
    def numpy(tensor: torch.Tensor) -> np.ndarray:
        if tensor.device.type != "cpu":
            raise TypeError(f"numpy() of a tensor on {tensor.device}")
        with torch.utils._python_dispatch._disable_current_modes():
            return values(tensor)

    yield _instead("numpy", numpy)
    yield _instead("item", lambda t: 0.5 if t.dtype.is_floating_point else 1)
    yield _instead("tolist", lambda t: np.full(tuple(t.shape), t.item()).tolist())
    for name, kind in (("__bool__", bool), ("__float__", float), ("__int__", int), ("__index__", int)):
        yield _instead(name, lambda t, kind=kind: kind(t.item()))


def _chosen() -> contextlib.AbstractContextManager[Any]:
    """Of what a mask without values chooses, the size is unknown: all is chosen."""
    stock = torch.Tensor.__getitem__

    def chosen(tensor: torch.Tensor, which: Any) -> torch.Tensor:
        if pretended(which) and which.dtype == torch.bool:
            assert tensor.device == which.device, f"device {tensor.device} by a mask on {which.device}"
            return tensor.flatten(0, which.ndim - 1)
        return stock(tensor, which)

    return mock.patch.object(torch.Tensor, "__getitem__", chosen)


def _as_cuda() -> Iterator[contextlib.AbstractContextManager[Any]]:
    def backward(loss: torch.Tensor, *_: Any, **__: Any) -> None:
        for leaf in _leaves(loss):
            leaf.grad = torch.zeros_like(leaf)

    def to(model: torch.nn.Module, device: str) -> torch.nn.Module:
        for module in model.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = torch.nn.Parameter(p.detach().to(device), p.requires_grad)
            for name, b in module._buffers.items():
                module._buffers[name] = None if b is None else b.to(device)
        return model

    def grad(of: Any, inputs: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.zeros_like, tree_leaves(inputs)))

    yield _instead("backward", backward)
    yield mock.patch.object(torch.nn.Module, "to", to)
    yield mock.patch.object(torch.autograd, "grad", grad)


def _leaves(loss: torch.Tensor) -> list[torch.Tensor]:
    seen, found, ahead = set(), [], [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += [node.variable] if hasattr(node, "variable") else []
            ahead += [before for before, _ in node.next_functions]
    return found


def _as_meta() -> Iterator[contextlib.AbstractContextManager[Any]]:
    adamw = torch.optim.AdamW
    yield _instead("cpu", lambda t: torch.from_numpy(values(t)))
    yield mock.patch.object(torch.optim, "AdamW", lambda *a, fused=None, **k: adamw(*a, **k))
