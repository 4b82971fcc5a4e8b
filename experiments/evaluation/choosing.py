"""Choice of methods: those that the settings name, each with its shortlists, and once more re-ranked."""

from collections.abc import Sequence
from dataclasses import replace

from dsr_jax import match
from experiments.evaluation.methods import Method, Options, named, reranked
from experiments.settings import matching


def chosen(comparison: matching.Comparison, coding: Options, variants: matching.Variants) -> tuple[Method, ...]:
    """The methods that the settings name."""
    match.choose_coder(coding.coder)
    if coding.coder == "maxsim":
        raise ValueError("coder must be a solver of dsr_*, got 'maxsim', another distance: --methods=maxsim_multi")
    names = tuple(dict.fromkeys(comparison.methods))
    check_fusions(names)
    single = [named(name, coding) for name in names]
    several_shots = _several_shots(comparison)
    if any(variants.shortlist) and not variants.rerank:
        check_stacked("shortlist", comparison, variants)
    listed = _shortlisted(single, variants, coder=coding.coder)
    return (*listed, *_reranked(listed, variants, several_shots=several_shots))


def champion(methods: Sequence[Method]) -> Method:
    """The method that the others are compared with: DSR multi-scale, or else the last one named."""
    return next((method for method in methods if method.name == "dsr_multi"), methods[-1])


def check_fusions(names: Sequence[str]) -> None:
    """Raises ValueError where one fusion is named in two orders, which would be two rows of the same numbers.

    Example:
      >>> check_fusions(["dsr_multi+swm", "amc", "swm+dsr_multi"])
      Traceback (most recent call last):
      ValueError: methods dsr_multi+swm and swm+dsr_multi are one fusion in two orders: name it once
    """
    first: dict[frozenset[str], str] = {}
    for name in names:
        before = first.setdefault(frozenset(name.split("+")), name)
        if before != name:
            raise ValueError(f"methods {before} and {name} are one fusion in two orders: name it once")


def check_stacked(argument: str, comparison: matching.Comparison, variants: matching.Variants) -> None:
    """Raises ValueError where several images of a person are not one dictionary, of which a shortlist knows no more."""
    if variants.multi_shot != "stack" and _several_shots(comparison):
        raise ValueError(
            f"{argument} codes the images of a person as one dictionary, not multi_shot={variants.multi_shot}: give "
            "--multi_shot=stack or --shots=1"
        )


def _several_shots(comparison: matching.Comparison) -> bool:
    return any(number > 1 for number in comparison.conditions)


def _reranked(methods: Sequence[Method], variants: matching.Variants, *, several_shots: bool) -> list[Method]:
    """Those that --rerank shows once more."""
    if not variants.rerank:
        return []
    if several_shots:
        raise ValueError("rerank compares gallery images among themselves: use --shots=whole or --shots=1 with it")
    comparing = [method for method in methods if method.maps]
    if not comparing:
        names = ", ".join(method.title for method in methods)
        raise ValueError(f"rerank is for methods that compare maps, not {names}: name dsr_multi or another")
    k1, k2, weight = variants.rerank
    return [reranked(method, k1=int(k1), k2=int(k2), weight=weight) for method in comparing]


def _shortlisted(methods: Sequence[Method], variants: matching.Variants, *, coder: str) -> list[Method]:
    """The methods, those that can with every length of --shortlist."""
    lengths = list(dict.fromkeys(variants.shortlist))
    if lengths == [0]:
        if variants.shortlist_by != "pooled":
            raise ValueError(f"shortlist_by={variants.shortlist_by} chooses a shortlist: give --shortlist=100 with it")
        return list(methods)
    if variants.rerank:
        raise ValueError("rerank compares all with all, which a shortlist leaves out: give one of the two")
    if not any(method.listed for method in methods):
        raise ValueError(
            "shortlist is for dsr_single, dsr_double and dsr_multi by a coder that certifies, got methods "
            f"{', '.join(method.title for method in methods)} and coder {coder}"
        )
    return [
        replace(method, maps=False, shortlist=length, by=variants.shortlist_by) if length else method
        for method in methods
        for length in (lengths if method.listed else [0])
    ]
