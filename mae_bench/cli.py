"""The command line: parses, calls one function, prints."""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper

from mae_bench import __version__

OK, FAILED, USAGE, PREFLIGHT, INTERRUPTED = 0, 1, 2, 3, 130
ONLY_TELL = ("plan", "status", "logs", "explain", "missing", "show", "doctor", "list", "compare")
"""Commands that have done all they can once nobody reads on."""


@dataclass(frozen=True)
class Command:
    """One sub-command: where it lives and how it is used."""

    target: str
    summary: str
    example: str


COMMANDS = {
    "run": Command(
        "mae_bench.commands.run:run",
        "run a suite to its leaderboard; what is done is not run again",
        "mae-bench run --suite demo",
    ),
    "plan": Command(
        "mae_bench.commands.plan:plan",
        "say what a run would do and cost: jobs, hours, wall time, disk, money",
        "mae-bench plan --suite full --tier lite --gpu-kind H200 --gpus 8",
    ),
    "pretrain": Command(
        "mae_bench.commands.single:pretrain",
        "pretrain one encoder",
        "mae-bench pretrain mae --arch vit_base_patch16 --epochs 800 --imagenet DIR",
    ),
    "transfer": Command(
        "mae_bench.commands.single:transfer",
        "measure one encoder on one task",
        "mae-bench transfer imagenet_linear --encoder encoder.safetensors --imagenet DIR",
    ),
    "encoders": Command(
        "mae_bench.commands.encoders:encoders",
        "bring in checkpoints of other code with proof; write them for other code",
        "mae-bench encoders add mae_pretrain_vit_base.pth --name mae-base",
    ),
    "reconstruct": Command(
        "mae_bench.commands.reconstruct:reconstruct",
        "paint the hidden patches of images with a masked autoencoder",
        "mae-bench reconstruct encoder.safetensors photo.jpg other.jpg -o grid.png",
    ),
    "status": Command(
        "mae_bench.commands.status:status",
        "say how each job stands: state, progress, attempts, where it runs",
        "mae-bench status --suite demo --watch",
    ),
    "logs": Command(
        "mae_bench.commands.logs:logs",
        "print the end of a job's log, and follow it over all its attempts",
        "mae-bench logs MAE coco_vitdet -f",
    ),
    "explain": Command(
        "mae_bench.commands.explain:explain",
        "say why a job is cached, would run again, waits, is blocked or failed",
        "mae-bench explain MAE imagenet_linear --suite demo",
    ),
    "missing": Command(
        "mae_bench.commands.missing:missing",
        "list the cells without results, and the command that fills each",
        "mae-bench missing --suite demo",
    ),
    "show": Command(
        "mae_bench.commands.show:show",
        "say what one job is, how it went, and where its numbers and pictures are",
        "mae-bench show MAE coco_vitdet",
    ),
    "cancel": Command(
        "mae_bench.commands.steer:cancel",
        "let jobs save themselves and end, here or in the scheduler's queue",
        "mae-bench cancel 3f2a19bc",
    ),
    "retry": Command(
        "mae_bench.commands.steer:retry",
        "forget why jobs failed or were cancelled, so that they are started again",
        "mae-bench retry --suite demo",
    ),
    "track": Command(
        "mae_bench.commands.track:track",
        "tell trackers (TensorBoard, W&B, MLflow, trackio) of jobs that ran before",
        "mae-bench track --suite demo --to wandb",
    ),
    "gc": Command(
        "mae_bench.commands.gc:gc",
        "say what a store holds in vain, and free it with --yes; never a result",
        "mae-bench gc --suite demo",
    ),
    "report": Command(
        "mae_bench.commands.run:report",
        "write a suite's tables again from the results in the store",
        "mae-bench report --suite demo",
    ),
    "import": Command(
        "mae_bench.commands.references:references",
        "let numbers of others stand beside ours in every later report",
        "mae-bench import ours-of-last-year.csv",
    ),
    "compare": Command(
        "mae_bench.commands.compare:compare",
        "say how two rows differ, how sure that is, and how many seeds would settle it",
        "mae-bench compare MAE Supervised --suite demo",
    ),
    "verify": Command(
        "mae_bench.commands.verify:verify",
        "check every result of a store; name those that were edited, broken or orphaned",
        "mae-bench verify --suite demo",
    ),
    "doctor": Command(
        "mae_bench.doctor:doctor",
        "say what is installed, what is missing, and the command that mends it",
        "mae-bench doctor",
    ),
    "data": Command(
        "mae_bench.commands.data:data",
        "make the demo data, or check a data set's folders",
        "mae-bench data make-demo demo-data",
    ),
    "list": Command(
        "mae_bench.commands.listing:show",
        "list recipes, suites and encoder sizes",
        "mae-bench list",
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Codes: 0 ok, 1 a job failed, 2 wrong usage or config, 3 preflight failed, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ± shows ? instead
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK if words[0].startswith("-") or words[0] in ONLY_TELL else FAILED
    sys.exit(code)


def _dispatch(words: list[str]) -> int:
    """Return the exit code of the command that the words name."""
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return OK
    if words[0] == "--version":
        print(__version__)
        return OK
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(COMMANDS)}"
        return _complain(f"unknown command {name!r}; {hint}", USAGE)
    return _call(name, rest)


def _call(name: str, rest: list[str]) -> int:
    """Return the exit code of a sub-command; user errors become one line."""
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):  # as of nohup
            signal.signal(number, signal.default_int_handler)
    module, _, function = COMMANDS[name].target.partition(":")
    try:
        command: Callable[[list[str]], int] = getattr(import_module(module), function)
        return command(rest)
    except SystemExit as end:
        if end.code == OK and {"-h", "--help"} & set(rest):
            print(f"Example: {COMMANDS[name].example}")
        return end.code if isinstance(end.code, int) else FAILED
    except ValueError as error:
        return _complain(str(error), USAGE)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _complain(f"{error.filename or name}: {error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        again = " ".join(["mae-bench", name, *rest])
        return _complain(f"interrupted; finished work is kept, continue with: {again}", INTERRUPTED)


def _help() -> str:
    """Return the help of the whole program."""
    width = max(map(len, COMMANDS))
    lines = [
        "usage: mae-bench COMMAND [OPTIONS]",
        "",
        "How good is this pretrained Vision Transformer, really? Pretrains masked autoencoders,",
        "transfers encoders to ImageNet, COCO, ADE20K and VOC, and compiles the table.",
        "",
        *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "`mae-bench COMMAND --help` says more of each. Exit codes: 0 ok, 1 a job failed,",
        "2 wrong usage or configuration, 3 preflight failed, 130 interrupted.",
        "",
        "Example: mae-bench run --suite demo",
    ]
    return "\n".join(lines)


def _complain(message: str, code: int) -> int:
    """Print the error, if the terminal is still there, and return the code."""
    with suppress(OSError):
        print(f"mae-bench: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
