"""What a CPU makes of training and inference: images a second beside peers, waiting for data, the answer's time.

    python benchmarks/cpu.py [--minutes 12] [--parts "training resnet18"] [--without tutorial] [--dry-run]

All cores that this process may use. As in `gpu.py`, whose parts these are: all contenders of a part take turns in
rounds, the median of the rounds is shown, and whatever fails is told. Peers are in the extra `bench`.
"""

from __future__ import annotations

from pathlib import Path

from device import around
from device.race import dry, on_cpu
from device.session import Part, answers_part, measure_all, peers_part, session_options, steps_part

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> None:
    options = session_options(str(__doc__), 12.0, ROOT / "benchmarks" / "cpu.json").parse_args(arguments)
    scale = dry(False) if options.dry_run else on_cpu(options.workers)
    middle, sizes = scale.middle, sorted(scale.batch)
    parts: dict[str, Part] = {
        **{f"training {scale.network} {size}": steps_part(scale.network, size, scale.batch[size]) for size in sizes},
        **{f"peers {scale.network} {size}": peers_part(scale.network, size) for size in sizes[:2]},
        **{f"training custom6conv {size}": steps_part("custom6conv", size, scale.batch[size]) for size in sizes[:2]},
        "waiting": around.waiting,
        "kernels": around.kernels,
        f"latency {middle}": answers_part(middle, 1),
        f"answers {middle}": answers_part(middle, scale.batch_inferred),
        f"answers {scale.large}": answers_part(scale.large, scale.large_batch),
    }
    measure_all(parts, scale, options)


if __name__ == "__main__":
    main()
