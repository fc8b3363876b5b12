"""The command line leads to the run that it asks for."""

import argparse
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.evaluation.command import add_arguments, run
from agent.settings import Settings


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_each_flag_has_its_run(tmp_path: Path) -> None:
    """Told apart by what each of them refuses."""
    refused = {
        ("--quick", "--calls", "0"): "--calls and --concurrent count from 1",
        ("--offline", "--uri", "sip:a@127.0.0.1"): "--offline calls nobody",
        ("--virtual", "--uri", "sip:a@127.0.0.1"): "--virtual calls nobody",
        ("--compare", "--trials", "0"): "--trials and --concurrent count from 1",
        ("--rows", "quick"): "--rows has no 'quick'",
    }
    for words, message in refused.items():
        with pytest.raises(AgentError, match=message):
            run(arguments(*words, "--folder", str(tmp_path)), Settings())
    for words in (("--quick", "--virtual"), ("--fold", "5"), ("--compare", "--offline")):
        with pytest.raises(SystemExit):
            arguments(*words)
    plain = arguments()
    assert (plain.trials, plain.rows, plain.engine, plain.recordings) == (100, None, None, None)
