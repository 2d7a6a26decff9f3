"""Draw docs/images/rooms.svg, the rooms of the package and the arrows between them, from the imports as they are.

    python docs/draw_rooms.py

An arrow that follows from two others is left out, so that the picture can be taken in.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
DOORS = "front doors"
PLACES = {  # room: (row, middle, what it is for)
    DOORS: (0, 480, "astroclf train, check, prepare, stores, simulate, promote"),
    "cli": (1, 690, "help, errors"),
    "sweep": (2, 400, "search with Optuna"),
    "audit": (2, 150, "what check finds"),
    "use": (2, 640, "a model put to use"),
    "run": (3, 480, "config to registered model"),
    "config": (4, 150, "compose, validate, build"),
    "registry": (4, 390, "versions, gate"),
    "engine": (4, 640, "the training loop"),
    "inference": (5, 390, "a model on new images"),
    "evaluation": (6, 640, "predictions, metrics, report"),
    "tracking": (7, 180, "MLflow, or none"),
    "losses": (7, 480, "criterion, class weights"),
    "simulation": (7, 830, "galaxies, sky objects"),
    "models": (8, 480, "backbones, heads"),
    "data": (8, 700, "from files to batches"),
    "settings": (9, 780, "typed keys"),
    "util": (10, 390, "files, progress, text"),
    "errors": (11, 480, "one paragraph each"),
}
WIDTH, ROW, BOX, TALL = 960, 84, 180, 46


def room_imports() -> dict[str, set[str]]:
    """Map each room to the rooms that it imports, lazily or not; the front doors count as one."""
    graph: dict[str, set[str]] = {room: set() for room in PLACES}
    for path in sorted((ROOT / "astroclf").rglob("*.py")):
        here = _room(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_import":
                names = [ast.literal_eval(node.args[0])]
            ours = [name.split(".") for name in names if name.startswith("astroclf.")]
            graph[here] |= {_room(name) for name in ours} - {here}
    return graph


def _room(parts: tuple[str, ...] | list[str]) -> str:
    return parts[1] if len(parts) > 1 and parts[1] in PLACES else DOORS


def without_shortcuts(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out each arrow whose end is reached by a longer way."""

    def below(room: str) -> set[str]:
        return graph[room].union(*(below(next_room) for next_room in graph[room]))

    return {room: {end for end in ends if not any(end in below(way) for way in ends)} for room, ends in graph.items()}


def picture() -> str:
    """Return the SVG."""
    height = (max(row for row, _, _ in PLACES.values()) + 1) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
        '<path d="M0 0 L8 4 L0 8 z" fill="#56698f"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for room, ends in without_shortcuts(room_imports()).items():
        row, x, _ = PLACES[room]
        for end in sorted(ends):
            below, end_x, _ = PLACES[end]
            start_x = max(100, min(WIDTH - 100, end_x)) if room == DOORS else x
            top, bottom = row * ROW + 16 + TALL, below * ROW + 16
            lines.append(
                f'<path d="M{start_x} {top} C{start_x} {top + 26}, {end_x} {bottom - 30}, {end_x} {bottom}" '
                'fill="none" stroke="#56698f" stroke-width="1.6" marker-end="url(#head)"/>'
            )
    for room, (row, x, purpose) in PLACES.items():
        wide = WIDTH - 80 if room == DOORS else BOX
        fill = "#e3ebf8" if room == DOORS else "#f4f6fa"
        left, top = x - wide // 2, row * ROW + 16
        middle = f'x="{x}" text-anchor="middle"'
        lines += [
            f'<rect x="{left}" y="{top}" width="{wide}" height="{TALL}" rx="7" fill="{fill}" stroke="#8a9bbd"/>',
            f'<text {middle} y="{top + 20}" font-size="15" font-weight="bold" fill="#1c2740">{room}</text>',
            f'<text {middle} y="{top + 37}" font-size="12" fill="#44516d">{purpose}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(f"written to {PICTURE.relative_to(ROOT)}")
