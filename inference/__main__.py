"""``python -m inference serve | predict | pack | verify | train | draw``: the server's command line."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inference.errors import CheckpointError, InferenceError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK: Final = 0
EXIT_NO_ANSWER: Final = 1
EXIT_USAGE: Final = 2
EXIT_MODEL_REFUSED: Final = 3
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are one sentence on stderr."""
    parsed = _parser().parse_args(arguments)
    try:
        match parsed.command:
            case "serve":
                return _serve()
            case "predict":
                return _predict(parsed.images)
            case "pack":
                return _pack(parsed.source, parsed.destination)
            case "verify":
                return _verify(parsed.folder)
            case "train":
                return _train(parsed.folder, parsed.drawings, parsed.epochs)
            case _:
                return _draw(parsed.folder)
    except SettingsError as error:
        _complain(error)
        return EXIT_USAGE
    except CheckpointError as error:
        _complain(error)
        return EXIT_MODEL_REFUSED
    except InferenceError as error:
        _complain(error)
        return EXIT_NO_ANSWER
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        _complain(f"{error.filename or parsed.command}: {error.strerror}; nothing more was written.")
        return EXIT_NO_ANSWER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference",
        description="The image-recognition server under drill. serve and predict are configured by environment "
        "variables; docs/inference.md lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer HTTP requests until SIGTERM")
    predict = commands.add_parser("predict", help="print one JSON line per image, the bytes the server would answer")
    predict.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="default: DEFAULT_IMAGE_PATH")
    pack = commands.add_parser("pack", help="turn any form of model into a packed folder, and print its MODEL_SHA256")
    pack.add_argument("source", type=Path, metavar="SOURCE", help="folder of the model, or its weights file")
    pack.add_argument("destination", type=Path, metavar="DEST", help="folder to make; it must not exist yet")
    verify = commands.add_parser("verify", help="check every file of a packed folder against its manifest")
    verify.add_argument("folder", type=Path, metavar="FOLDER")
    train = commands.add_parser("train", help="train the sample model on drawings, the same weights every time")
    train.add_argument("folder", type=Path, help="model folder to write")
    train.add_argument("--drawings", type=int, help="size of the training series")
    train.add_argument("--epochs", type=int, help="passes over it")
    draw = commands.add_parser("draw", help="draw the golden images of the drills")
    draw.add_argument("folder", type=Path, help="folder to write the images into")
    return parser


def _serve() -> int:
    from inference.log import start_logging
    from inference.server import serve
    from inference.settings import read_settings

    settings = read_settings(os.environ)
    start_logging(settings.log_level)
    serve(settings)
    return EXIT_OK


def _predict(images: list[Path]) -> int:
    from inference.settings import read_settings

    settings = read_settings(os.environ)
    paths = images or ([settings.default_image_path] if settings.default_image_path else [])
    if not paths:
        raise SettingsError("Name at least one image, or set DEFAULT_IMAGE_PATH.")
    from inference.model_source import obtain_model

    checkpoint = obtain_model(settings)
    from inference.answer import canonical_json
    from inference.predictor import Predictor

    predictor = Predictor.from_settings(checkpoint, settings)
    code = EXIT_OK
    for path in paths:
        try:
            answer = predictor.predict_image(path)
        except OSError as error:
            _complain(f"Cannot read {path}: {error.strerror}.")
            code = EXIT_NO_ANSWER
        except InferenceError as error:
            _complain(f"{path}: {error}")
            code = EXIT_NO_ANSWER
        else:
            sys.stdout.buffer.write(canonical_json({**answer}) + b"\n")
    sys.stdout.buffer.flush()
    return code


def _pack(source: Path, destination: Path) -> int:
    from inference.pack import pack

    sha256 = pack(source, destination)
    print(f"MODEL_SHA256={sha256}")  # noqa: T201 - the result of the command
    return EXIT_OK


def _verify(folder: Path) -> int:
    from inference.pack import verify

    for name in verify(folder):
        print(f"{name}: OK")  # noqa: T201 - the result of the command
    return EXIT_OK


def _train(folder: Path, drawings: int | None, epochs: int | None) -> int:
    from inference.train import Recipe, train

    given = {name: value for name, value in (("drawings", drawings), ("epochs", epochs)) if value is not None}
    recipe = replace(Recipe(), **given)
    train(folder, recipe, _say)
    return EXIT_OK


def _draw(folder: Path) -> int:
    from inference.golden import write_golden

    for path in write_golden(folder):
        _say(str(path))
    return EXIT_OK


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress of a command-line tool


def _complain(problem: object) -> None:
    print(f"inference: {problem}", file=sys.stderr)  # noqa: T201 - the one place errors are shown


if __name__ == "__main__":
    sys.exit(main())
