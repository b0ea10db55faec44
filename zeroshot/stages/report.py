"""`stage=report`: the table and the page of all runs in a history, or two runs side by side."""

import logging

from zeroshot import report
from zeroshot.config.paths import expand_path
from zeroshot.config.schema import Config
from zeroshot.errors import ZeroshotError
from zeroshot.runs import compare, history

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Logs the runs of the history, all or those chosen, and draws their page; or logs a comparison of two runs.

    Raises:
        ZeroshotError: there is no history, no run fits, or one of the two folders holds no run.
    """
    stage, root = config.stage, expand_path(config.stage.root)
    if stage.compare is not None:
        first, second = (root / each if (root / each).is_dir() else expand_path(each) for each in stage.compare)
        log.info(compare.format_comparison(first, second).rstrip("\n"))
        return
    lines = history.read(root)
    patterns = {"model": stage.model, "dataset": stage.dataset, "prompt": stage.prompt}
    chosen = history.select(lines, patterns)
    if not lines:
        raise ZeroshotError(f"{root / history.FILE} has no run yet")
    if not chosen:
        given = " ".join(f"stage.{key}={','.join(names)}" for key, names in patterns.items() if names)
        raise ZeroshotError(
            f"{root / history.FILE}: none of its {len(lines)} runs has {given}; `*` stands for any letters"
        )
    log.info(history.format_history(chosen).rstrip("\n"))
    if page := report.draw_index(root):
        log.info("page: %s", page)
