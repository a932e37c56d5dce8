"""The overrides of the complete demo, which no other test runs."""

from pathlib import Path

from reldn_d2.demo.run import COMPLETE, RUNS, model_commands
from reldn_d2.engine import load_config


def test_its_options_are_those_of_its_configs_and_reach_its_trainings() -> None:
    detector = load_config("scenes/detector.yaml", [*COMPLETE.options, *COMPLETE.detector_options])
    assert max(detector.SOLVER.STEPS) < detector.SOLVER.MAX_ITER
    for run in RUNS.values():
        train, _ = model_commands(Path("demo"), run, COMPLETE, [])
        words = list(train.words)
        cfg = load_config(f"scenes/{run}.yaml", words[words.index("--seed") + 2 :])
        assert cfg.INPUT.MIN_SIZE_TEST == detector.INPUT.MIN_SIZE_TEST
        assert cfg.MODEL.RPN == detector.MODEL.RPN  # the saved detections are those of its own detector
        assert cfg.MODEL.BACKBONE.FREEZE_AT == 5 and max(cfg.SOLVER.STEPS) < cfg.SOLVER.MAX_ITER
