"""Publication of an evaluation's results: remarks and tables in the terminal, files in the workdir, the page."""

from collections.abc import Sequence
from pathlib import Path

from experiments.evaluation import choosing, features, page, paired, showing
from experiments.evaluation.comparison import Result
from experiments.evaluation.selection import Selection
from experiments.settings.evaluation import Settings
from experiments.settings.matching import Looking
from experiments.workdir import Workdir, write_text

TABLES = "tables.txt"  # in the workdir: the tables that the terminal showed


def say(lines: Sequence[str]) -> list[str]:
    """Prints lines as they come; returns them."""
    for line in lines:
        print(line, flush=True)
    return list(lines)


def publish(
    workdir: Workdir,
    settings: Settings,
    results: Sequence[Result],
    selected: Selection,
    network: features.Network,
    remarks: Sequence[str],
    parts: Sequence[page.Part] = (),
) -> None:
    """Prints the tables, then writes them, every probe's figures and the page.

    Args:
      workdir: where it is written; begun here if it was not.
      settings: of the evaluation.
      results: of every network, number of shots and method.
      selected: probes and gallery.
      network: the last network, which reconstructs.
      remarks: what was printed before the first figure.
      parts: further tables and plots.
    """
    shown, seed, compared = settings.page, settings.seed.seed, settings.comparison
    caption = page.caption(selected.caption(), compared.conditions, compared.trials)
    champion = choosing.champion([result.method for result in results])
    texts = [page.text(results, dataset=shown.paper), page.against_text(results, champion)]
    texts += [part.text for part in parts]
    tables = "\n".join([caption, "\n\n".join(filter(None, texts))])
    print(f"\n{tables}", flush=True)
    say([f"{result.key}: {remark}" for result in results for remark in result.remarks])
    remarks = [*remarks, *say([remark for part in parts for remark in part.remarks])]
    rebuilt = showing.reconstructions(
        results, network, selected, count=shown.reconstructions, seed=seed, l1=settings.matching.l1
    )
    if rebuilt and settings.looking != Looking():
        remarks.append(
            "The reconstructions below are of the pictures as they are, without "
            f"{' and '.join(settings.looking.given)}: their distances are not those of the tables"
        )
    workdir.begin()  # nothing is written before the figures are seen
    write_text(workdir.path / TABLES, f"{tables}\n")
    paired.write(workdir.path / paired.FILE, {one.key: one.per_probe for one in results}, selected.probes.identities)
    counted = f"{len(selected.probes.names)} probes against {len(selected.gallery.names)} gallery images."
    written = page.write(
        workdir.path / "report",
        results,
        ranked=showing.ranked_lists(results, selected, count=shown.ranked_lists, seed=seed),
        reconstructions=rebuilt,
        title=f"Partial re-identification: {settings.maps.maps or settings.data.dataset}",
        caption=caption,
        summary=" ".join([counted, *(f"{remark}." for remark in remarks)]),
        config=workdir.configuration,
        champion=champion,
        parts=parts,
        dataset=shown.paper,
    )
    print(f"report: {written}")
    if change := page.change_text(results):
        print(change)


def tables_of(workdir: Path) -> str:
    """The tables that an evaluation showed, from its workdir; nothing where there was none."""
    file = workdir / TABLES
    return file.read_text(encoding="utf-8") if file.exists() else ""
