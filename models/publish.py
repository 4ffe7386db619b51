"""Turn a training folder into the shipped pair: weights, tokenizer, training record and loss curve.

    python -m models.publish --folder models/checkpoints --output models/reference

Works on unfinished trainings too (the draft is then the dense model), which gives a usable snapshot early.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import tokenizers
import torch
import transformers

from models import export, stages, tokenizer
from models.compacting import compact
from models.train import Recipe
from models.transformer import Architecture, Decoder

STAGES = ("dense", "target", "sharpen", "draft")


def publish(recipe: Recipe, folder: Path, output: Path, start: Path | None = None) -> None:
    """Write `output/{target,draft,tokenizer.json,training.json,loss.png}`; `start`: the pair that it went on from."""
    before = json.loads((start / "training.json").read_text()) if start is not None else None
    saved = {name: load(folder / f"{name}.pt") for name in STAGES if (folder / f"{name}.pt").exists()}
    target = Decoder(Architecture(experts=recipe.experts, top_k=recipe.top_k))
    target.load_state_dict(saved["sharpen" if "sharpen" in saved else "target"]["model"])
    draft = Decoder(Architecture())
    draft.load_state_dict(saved["draft" if "draft" in saved else "dense"]["model"])
    words = tokenizer.load(start or folder / "tokenizer")
    words.save_pretrained(output)
    export.save(target, draft, words.eos_token_id, output)
    for role in ("target", "draft"):
        compact(output / role)
        write_checksums(output / role)
    records = {name: content["record"] for name, content in saved.items()}
    record = training_record(recipe, records) | ({} if before is None else {"before": before})
    text = json.dumps(record, indent=1) + "\n"
    stages.write_atomically(output / "training.json", lambda path: path.write_text(text))
    stages.write_atomically(output / "loss.png", lambda path: plot(record, path))


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` of the weights, in the format of sha256sum; the loader refuses weights that differ."""
    files = sorted(folder.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    stages.write_atomically(folder / "SHA256SUMS", lambda path: path.write_text("".join(lines)))


def load(path: Path) -> dict[str, Any]:
    """A stage's checkpoint, on the CPU."""
    content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return content


def training_record(recipe: Recipe, records: dict[str, Any]) -> dict[str, Any]:
    """What was trained, on how much, for how long, with what."""
    return {
        "recipe": asdict(recipe),
        "stages": {
            name: {
                "tokens": record["log"][-1]["tokens"],
                "seconds": round(record["seconds"]),
                "tokens_per_second": round(record["log"][-1]["tokens"] / record["seconds"]),
                "final": record["log"][-1],
                "log": record["log"],
            }
            for name, record in records.items()
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }


def plot(record: dict[str, Any], path: Path) -> None:
    """Loss over tokens of the stages, one behind the other (the draft's is its divergence from the target)."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    offset = 0
    for name, stage in [*record.get("before", {}).get("stages", {}).items(), *record["stages"].items()]:
        tokens = [(offset + entry["tokens"]) / 1e6 for entry in stage["log"]]
        kind = "KL to the target" if name == "draft" else "cross-entropy"
        axes.plot(tokens, [entry["loss"] for entry in stage["log"]], label=f"{name}, {kind}", linewidth=1)
        offset += stage["log"][-1]["tokens"]
    axes.set_xlabel("training tokens (millions)")
    axes.set_ylabel("weighted loss (nats per token)")
    axes.set_ylim(0, 6)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, format="png")
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/checkpoints"))
    parser.add_argument("--output", type=Path, default=Path("models/reference"))
    parser.add_argument("--from", dest="start", type=Path, help="folder of the pair that the training went on from")
    arguments = parser.parse_args()
    publish(Recipe(), arguments.folder, arguments.output, arguments.start)


if __name__ == "__main__":
    main()
