"""The paper's own figures, to stand beside ours where the data set is the paper's (Tables 1, 2 and 4)."""

from experiments.evaluation.comparison import WHOLE

DRAWN = ("rank1", "rank3", "rank5", "rank10")  # the columns where a gallery is drawn
SINGLE_QUERY = ("rank1", "mAP")  # and where every image is an entry
# (data set and network, shots) -> method -> its columns in per cent.
TABLES: dict[tuple[str, int], dict[str, tuple[float, ...]]] = {
    ("partial_reid", 1): {
        "resizing": (19.33, 32.67, 40.00, 51.33),
        "swm": (24.33, 45.00, 52.33, 61.33),
        "amc": (33.33, 46.00, 52.00, 62.00),
        "amc_swm": (36.00, 51.00, 60.00, 70.67),
        "dsr_single": (39.33, 55.67, 65.67, 76.67),
        "dsr_multi": (43.00, 60.33, 75.00, 76.67),
    },
    ("partial_ilids", 1): {
        "resizing": (21.85, 36.97, 43.70, 55.46),
        "swm": (33.61, 47.06, 53.78, 63.03),
        "amc": (46.78, 64.75, 69.63, 81.85),
        "amc_swm": (49.58, 63.34, 72.27, 70.67),  # rank-10 below rank-5, as printed
        "dsr_single": (51.06, 61.66, 70.67, 82.42),
        "dsr_multi": (54.58, 64.50, 73.11, 85.71),
    },
    ("partial_reid", 3): {
        "resizing": (26.00, 37.00, 43.67, 59.00),
        "swm": (34.33, 47.67, 57.00, 69.00),
        "amc": (42.33, 55.67, 60.67, 65.67),
        "amc_swm": (44.67, 56.33, 63.00, 73.00),
        "dsr_single": (49.33, 65.67, 72.67, 84.00),
        "dsr_multi": (53.67, 72.33, 79.33, 88.00),
    },
    ("partial_ilids", 3): {
        "resizing": (28.57, 43.67, 49.67, 63.00),
        "swm": (35.33, 49.67, 57.00, 69.00),
        "amc": (44.67, 56.33, 63.00, 73.00),
        "amc_swm": (52.67, 63.33, 67.00, 74.67),
        "dsr_single": (54.67, 64.33, 68.67, 76.00),
        "dsr_multi": (55.46, 68.07, 73.11, 78.15),
    },
    ("market1501_softmax", WHOLE): {
        "global_average": (77.40, 55.64),
        "dsr_single": (80.42, 58.28),
        "dsr_multi": (81.77, 60.45),
    },
    ("market1501_dsr", WHOLE): {"dsr_single": (82.72, 61.25), "dsr_multi": (83.58, 64.25)},
}
DATASETS = tuple(dict.fromkeys(name for name, _ in TABLES))


def figure(dataset: str, method: str, shots: int, column: str) -> float | None:
    """What the paper prints for a method and a column such as "rank1"; None where it prints nothing.

    Example:
      >>> figure("partial_reid", "dsr_multi", 1, "rank1"), figure("partial_reid", "dsr_multi", 1, "mAP")
      (43.0, None)
    """
    row = TABLES.get((dataset, shots), {}).get(method)
    columns = SINGLE_QUERY if shots == WHOLE else DRAWN
    return row[columns.index(column)] if row and column in columns else None
