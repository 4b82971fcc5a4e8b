"""Where a run happens: its folder, its processes, its seed."""

from dataclasses import dataclass

from data.binding import setting


@dataclass(frozen=True)
class Place:
    """Where this run is."""

    workdir: str | None = setting(
        None, "Folder of this run: config, log, metrics, report. One configuration each.", path=True, free=True
    )
    progress: bool = setting(True, "Show progress bars.", free=True)

    def folder(self) -> str:
        """The --workdir."""
        if not self.workdir:
            raise ValueError("workdir is missing: give --workdir=FOLDER for config, log, metrics and report")
        return self.workdir


@dataclass(frozen=True)
class Hosts:
    """Several hosts."""

    coordinator_address: str | None = setting(
        None,
        "host:port of process 0, the same for all; auto: JAX asks the cluster. Without it a launcher that started "
        "several processes (SLURM, Open MPI) is asked, else this is the only one.",
        free=True,
    )
    num_processes: int | None = setting(None, "How many processes, with --coordinator_address.", free=True)
    process_id: int | None = setting(None, "Which of them this is, 0 to num_processes - 1.", free=True)


@dataclass(frozen=True)
class Seed:
    """Randomness."""

    seed: int = setting(0, "Seed of everything random in this run.", low=0)


@dataclass(frozen=True)
class Seeds(Seed):
    """Randomness."""

    seeds: int = setting(
        1,
        "Train with so many seeds, --seed and those after it, each in a folder seedN of the workdir; then tell mean "
        "and range.",
        low=1,
    )
