"""The table of a sweep: one row per config, failed and unfinished jobs among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.runs import terminal
from zeroshot.runs.folder import HYDRA
from zeroshot.runs.record import Record
from zeroshot.runs.terminal import Column

COLUMNS = (
    "model",
    "dataset",
    "prompt",
    "images",
    "top1",
    "published",
    "delta",
    "top5",
    "mean_per_class_recall",
    "images_per_s",
    "total_s",
    "status",
    "overrides",
    "folder",
    "config_digest",
)
PERCENT = ("top1", "published", "delta", "top5", "mean_per_class_recall")
TITLES = {
    "model": Column("model", right=False),
    "dataset": Column("dataset", right=False, drop_priority=2),
    "prompt": Column("prompt", right=False),
    "options": Column("options", right=False, long=True),
    "images": Column("images", drop_priority=7),
    "top1": Column("top-1"),
    "published": Column("published", drop_priority=3),
    "delta": Column("difference", drop_priority=1),
    "top5": Column("top-5", drop_priority=4),
    "mean_per_class_recall": Column("mean per-class recall", drop_priority=8),
    "images_per_s": Column("images/s", drop_priority=6),
    "total_s": Column("seconds", drop_priority=5),
    "status": Column("status", right=False, long=True),
}
OK = "ok"
UNFINISHED = "unfinished"
MATRIX = "models × prompts"
OWN_COLUMNS = ("model=", "dataset=", "prompt=", "experiment=", "hydra.", "hydra/")
COLOURS = {OK: "", UNFINISHED: terminal.YELLOW}

Row = dict[str, Any]  # COLUMNS; `source`, who published the figure; `options`, the overrides as a list


@dataclass(frozen=True)
class Matrix:
    """The runs of models (rows) by prompt sets (columns) on one data set; None where there is none."""

    dataset: str
    models: list[str]
    prompts: list[str]
    rows: list[list[Row | None]]

    @property
    def shares(self) -> list[list[float | None]]:
        """Top-1 of each run; None where there is none."""
        return [[None if row is None else row["top1"] for row in line] for line in self.rows]


def rows(sweep: Path) -> list[Row]:
    """A row per config of a sweep's jobs in the order of their folders: the newest complete job, else the newest."""
    newest: dict[str, tuple[tuple[bool, str], Row]] = {}
    jobs = [folder for folder in sweep.iterdir() if (folder / HYDRA).is_dir()]
    records = {folder: run_record.read_record(folder) for folder in sorted(jobs, key=lambda path: _natural(path.name))}
    digests = {_saved_config(folder): record["config_digest"] for folder, record in records.items() if record}
    for folder, record in records.items():
        if record is None:
            found, time = _unfinished(folder) | {"config_digest": digests.get(_saved_config(folder))}, ""
        else:
            found, time = row(folder, record), record["finished"]
        key = found["config_digest"] or folder.name
        rank = (found["status"] == OK, time)
        if key not in newest or newest[key][0] <= rank:
            newest[key] = (rank, found)
    return [found for _, found in newest.values()]


def complete(sweep: Path) -> bool:
    """Whether every job of the sweep left a record without an error."""
    return all(each["status"] == OK for each in rows(sweep))


def write(sweep: Path) -> None:
    """Writes `table.md` and `table.csv` of what the sweep's jobs have left so far."""
    listed = rows(sweep)
    run_folder.write_csv(
        sweep / run_folder.TABLE,
        COLUMNS,
        [["" if each[column] is None else each[column] for column in COLUMNS] for each in listed],
    )
    run_folder.write_text(sweep / "table.md", markdown(listed))


def format_table(sweep: Path) -> str:
    """The table as the command line prints it: fitted to a terminal, otherwise the Markdown of `table.md`."""
    width = terminal.width_of_stdout()
    listed = rows(sweep)
    if not listed:
        return ""
    if width is None:
        return markdown(listed)
    parts = []
    for caption, columns, lines in _tables(listed):
        colours = [COLOURS.get(each["status"], terminal.RED) for each in listed]
        if caption.endswith(MATRIX):
            if not terminal.fits(columns, lines, width):
                columns, lines = _turned(columns, lines)
            colours = [""] * len(lines)
        parts.append(f"{caption}\n" + terminal.draw(columns, lines, colours if terminal.coloured() else (), width))
    return "\n".join(parts)


def markdown(listed: Sequence[Row]) -> str:
    """The rows as Markdown tables whose columns are aligned in plain text too, each with a line above it."""
    parts = []
    for caption, columns, lines in _tables(listed):
        escaped = [[text.replace("|", "\\|").replace("\n", " ") for text in line] for line in lines]
        texts = [[column.title for column in columns], *escaped]
        widths = [max(terminal.cells(line[i]) for line in texts) for i in range(len(columns))]
        if not columns[-1].right:  # a reason is long: the other rows needn't be
            widths[-1] = terminal.cells(columns[-1].title)
        ruled = [
            "| "
            + " | ".join(
                terminal.aligned(text, width, column.right)
                for text, width, column in zip(line, widths, columns, strict=True)
            )
            + " |"
            for line in texts
        ]
        rule = "|".join(
            "-" * (width + 1) + (":" if column.right else "-") for width, column in zip(widths, columns, strict=True)
        )
        parts.append("\n".join([caption, "", ruled[0], f"|{rule}|", *ruled[1:]]) + "\n")
    return "\n".join(parts)


def row(folder: Path, record: Record) -> Row:
    """The row of one run, from its record; a value that the record lacks is None."""
    found = _named(folder, record["config"]) | {
        "status": record.get("error", OK),
        **_overrides(record["overrides"]),
        "config_digest": record["config_digest"],
    }
    if "timing" in record:
        found |= {key: record["timing"][key] for key in ("images_per_s", "total_s")}
    if isinstance(record.get("images"), int):
        found["images"] = record["images"]
    if "metrics" in record:
        references = record["references"]
        published = references[0] if references else {"source": None, "top1": None, "delta": None}
        found |= {
            "images": record["dataset"]["size"],
            **{key: record["metrics"][key] for key in ("top1", "top5", "mean_per_class_recall")},
            "published": published["top1"],
            "delta": published["delta"],
            "source": published["source"],
        }
    return found


def cell(value: Any, column: str) -> str:
    """A value as tables show it: fractions of 1 in percent, times and speeds with one decimal."""
    if value is None:
        return "–"
    if column in PERCENT:
        return f"{100 * value:+.2f}" if column == "delta" else f"{100 * value:.2f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _tables(listed: Sequence[Row]) -> list[tuple[str, list[Column], list[list[str]]]]:
    """The tables with their captions: the rows, and models × prompts where a data set has several prompts."""
    options = differing_options(listed)
    same = {key: {each[key] for each in listed} - {None} for key in ("dataset", "prompt", "images")}
    left_out = [key for key, values in same.items() if len(values) < 2]
    if not any(options):
        left_out.append("options")
    if all(each["status"] == OK for each in listed):
        left_out.append("status")
    keys = [key for key in TITLES if key not in left_out]
    lines = [
        [cell(each[key], key) if key != "options" else chosen for key in keys]
        for each, chosen in zip(listed, options, strict=True)
    ]
    captions = {"dataset": "{}", "prompt": "prompt {}", "images": "{} images"}
    caption = ", ".join(captions[key].format(*values) for key, values in same.items() if len(values) == 1)
    sources = sorted({each["source"] for each in listed if each["source"]})
    caption += f"; published by {', '.join(sources)}" if sources else ""
    return [(caption, [TITLES[key] for key in keys], lines), *map(_drawn, matrices(listed))]


def matrices(listed: Sequence[Row]) -> list[Matrix]:
    """A matrix for each data set with several prompts, where a pair has one run, all on the same number of images."""
    found = []
    for dataset in dict.fromkeys(each["dataset"] for each in listed):
        part = [each for each in listed if each["dataset"] == dataset]
        pairs = {(each["model"], each["prompt"]): each for each in part}
        models = list(dict.fromkeys(model for model, _ in pairs))
        prompts = list(dict.fromkeys(prompt for _, prompt in pairs))
        if len(prompts) < 2 or len(pairs) < len(part) or len({each["images"] for each in part} - {None}) > 1:
            continue
        found.append(
            Matrix(dataset, models, prompts, [[pairs.get((model, prompt)) for prompt in prompts] for model in models])
        )
    return found


def _drawn(matrix: Matrix) -> tuple[str, list[Column], list[list[str]]]:
    """A matrix as a table with its caption."""
    lines = [[str(model), *map(_top1, line)] for model, line in zip(matrix.models, matrix.rows, strict=True)]
    columns = [Column("model", right=False), *(Column(str(prompt)) for prompt in matrix.prompts)]
    return f"Top-1 on {matrix.dataset}, {MATRIX}", columns, lines


def _turned(columns: list[Column], lines: list[list[str]]) -> tuple[list[Column], list[list[str]]]:
    """A matrix with its rows as columns."""
    across = [Column("prompt", right=False), *(Column(line[0]) for line in lines)]
    return across, [[columns[i].title, *(line[i] for line in lines)] for i in range(1, len(columns))]


def _top1(found: Row | None) -> str:
    if found is None:
        return "–"
    if found["status"] in (OK, UNFINISHED):
        return found["status"] if found["top1"] is None else cell(found["top1"], "top1")
    return "failed"


def differing_options(listed: Sequence[Row]) -> list[str]:
    """The overrides in which each row differs from others, beside those that choose model, data set and prompt."""
    sets = [set(each["options"] or ()) for each in listed]
    in_all = set.intersection(*sets) if sets else set()
    return [" ".join(each for each in own_options(row["options"] or ()) if each not in in_all) for row in listed]


def own_options(overrides: Sequence[str]) -> list[str]:
    """The overrides of a run that no column of its own shows."""
    return [each for each in overrides if not each.startswith(OWN_COLUMNS)]


def _overrides(overrides: Sequence[str]) -> Row:
    return {"overrides": " ".join(overrides), "options": list(overrides)}


def _unfinished(folder: Path) -> Row:
    """The row of a job without a record: it is running, or was killed."""
    config, overrides = (_loaded(folder / HYDRA / f"{name}.yaml") for name in ("config", "overrides"))
    return _named(folder, config if isinstance(config, dict) else {}) | {
        "status": UNFINISHED,
        **(_overrides([str(each) for each in overrides]) if isinstance(overrides, list) else {}),
    }


def _saved_config(folder: Path) -> str:
    """The text of the config that Hydra saved, by which an unfinished job is known; its path if there is none."""
    path = folder / HYDRA / "config.yaml"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return str(path)


def _named(folder: Path, config: dict[str, Any]) -> Row:
    names = {
        group: config[group].get("name") if isinstance(config.get(group), dict) else None
        for group in ("model", "dataset", "prompt")
    }
    return dict.fromkeys((*COLUMNS, "source", "options")) | names | {"folder": folder.name}


def _loaded(path: Path) -> Any:
    """The content of one of Hydra's files, or None if it is cut short."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException):
        return None


def _natural(name: str) -> tuple[int, str]:
    head = name.split("_")[0]
    return (int(head) if head.isdigit() else 10**9, name)
