"""Model folders that anyone may have made: what is loaded, and the one sentence for what is not."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceTrainer
from tiny_pixart import write

from fastdiff.cli.main import main
from fastdiff.models.diffusers_folder import read_folder, read_weights
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError
from fastdiff.training.edit.backbone import LONGEST, Backbone, tokenizer
from fastdiff.training.edit.card import pack
from fastdiff.training.edit.train import Trained, TrainOptions
from fastdiff.training.velocity import scheduler


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights(folder: Path, part: str = "transformer") -> Path:
    return next((folder / part).glob("*.safetensors"))


def pickle_instead(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    weights(folder).unlink()


def list_shards(folder: Path, *names: str) -> None:
    index = Path(f"{weights(folder)}.index.json")
    index.write_text(json.dumps({"weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}))
    weights(folder).rename(folder / "transformer" / "1.safetensors")


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(weights(folder))
    moved = tensors.pop("proj_out.bias")
    save_file(tensors | {"another": moved}, weights(folder))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    "no family": (lambda f: change(f / "model_index.json", _class_name=None), "names no pipeline"),
    "another family": (lambda f: change(f / "model_index.json", _class_name="EvilPipeline"), "is a EvilPipeline"),
    "class of a stranger": (
        lambda f: change(f / "model_index.json", vae=["vae_code", "TheirVae"]),
        "vae .* is vae_code.TheirVae: only diffusers.AutoencoderKL",
    ),
    "any class of ours": (
        lambda f: change(f / "model_index.json", transformer=["fastdiff.models.patch_codec", "PatchCodec"]),
        "only diffusers.PixArtTransformer2DModel",
    ),
    "part not listed": (lambda f: change(f / "model_index.json", tokenizer=[None, None]), "tokenizer .* is not listed"),
    "part without folder": (lambda f: shutil.rmtree(f / "text_encoder"), "cannot read .*text_encoder"),
    "no weights": (lambda f: weights(f).unlink(), "transformer holds no weights"),
    "pickled weights": (pickle_instead, "are pickled"),
    "weights cut short": (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-100]), "are not whole"),
    "weights not downloaded": (lambda f: weights(f).write_text("version https://git-lfs"), "are not whole"),
    "a shard missing": (lambda f: list_shards(f, "1.safetensors", "2.safetensors"), "2.safetensors is missing"),
    "a shard elsewhere": (lambda f: list_shards(f, "../vae/diffusion_pytorch_model.safetensors"), "outside its folder"),
    "a tensor missing": (without_a_tensor, "lack proj_out.bias"),
    "too many layers": (lambda f: change(f / "transformer" / "config.json", num_layers=10**9), "at most 256"),
    "too many layers of words": (
        lambda f: change(f / "text_encoder" / "config.json", num_hidden_layers=10**9),
        "num_hidden_layers .* at most 256",
    ),
    "huge layers": (lambda f: change(f / "transformer" / "config.json", attention_head_dim=10**5), "are fewer than"),
    "nonsense in a config": (lambda f: change(f / "vae" / "config.json", block_out_channels="abc"), "cannot load"),
    "other sizes": (
        lambda f: change(f / "transformer" / "config.json", patch_size=1),
        "cannot load .*transformer: .*pos_embed.proj.weight",
    ),
    "size below 1": (lambda f: change(f / "transformer" / "config.json", sample_size=-4), "sample_size .* is -4"),
    "no scale": (lambda f: change(f / "vae" / "config.json", scaling_factor=None), "scaling_factor .* is None"),
    "scale of 0": (lambda f: change(f / "vae" / "config.json", scaling_factor=0), "scaling_factor .* is 0"),
    "config too large": (lambda f: (f / "vae" / "config.json").write_text(" " * 2_000_000), "at most"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "cannot read .*scheduler"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer holds no tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{"), "cannot load .*tokenizer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_not_whole_or_not_safe_are_refused(case: str, folder: Path) -> None:
    damage, sentence = REFUSED[case]
    damage(folder)
    with pytest.raises(UsageError, match=sentence) as refused:
        load_editable(str(folder))
    assert "\n" not in str(refused.value)


def test_show_names_parts_that_are_not_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "transformer")
    assert main(["models", "show", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "not in" in line] == [
        "transformer (diffusers.PixArtTransformer2DModel): not in the folder"
    ]


@pytest.mark.parametrize("readme", [b"---\nlicense: [open\n---\n", b"---\nlicense: \xff\n---\n"])
def test_show_reads_past_nonsense_in_cards(readme: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_bytes(readme)
    (folder / "card.json").write_text('{"scores": [1]}')
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": "much"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(flow))
    assert main(["models", "show", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "licence: not stated" in printed and "shift 'much'" in printed
    shutil.rmtree(folder / "scheduler")
    assert main(["models", "show", str(folder)]) == 0
    assert "schedule: not in the folder" in capsys.readouterr().out


def test_code_in_a_folder_never_runs(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for part in ("text_encoder", "tokenizer", "transformer", "vae"):
        (folder / part / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Theirs: pass\n")
        for config in ("config.json", "tokenizer_config.json"):
            if (folder / part / config).exists():
                change(folder / part / config, auto_map={"AutoModel": "code.Theirs", "AutoTokenizer": "code.Theirs"})
    (folder / "pipeline.py").write_text(f"open({str(ran)!r}, 'w')\n")
    assert load_editable(str(folder)).encode_prompts(["a fox"]).words[0][1].text == "fox"
    assert not ran.exists()


def test_the_tokenizer_of_a_published_folder_is_read(folder: Path) -> None:
    """Those folders hold a SentencePiece model and no tokenizer.json."""
    (folder / "tokenizer" / "tokenizer.json").unlink()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a fox and a cat on the grass", "a dog on striped grass"] * 20),
        model_prefix=str(folder / "tokenizer" / "spiece"),
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (words,) = load_editable(str(folder)).encode_prompts(["a fox on grass"]).words
    assert [word.text for word in words] == ["a", "fox", "on", "grass"]


def test_parts_for_other_channels_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", in_channels=8, out_channels=16)
    shutil.rmtree(folder / "transformer")
    shutil.copytree(other / "transformer", folder / "transformer")
    with pytest.raises(UsageError, match="do not fit"):
        load_editable(str(folder))


def test_the_first_published_folders_name_the_transformer_otherwise(folder: Path) -> None:
    change(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    change(folder / "transformer" / "config.json", _class_name="Transformer2DModel", num_vector_embeds=None)
    assert load_editable(str(folder)).resolution == 256


def test_shards_are_counted_and_loaded_as_one(folder: Path) -> None:
    before = load_editable(str(folder)).network.state_dict()
    numbers = read_weights(folder / "transformer").numbers
    tensors, path = load_file(weights(folder)), weights(folder)
    names = {name: f"shard-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for shard in set(names.values()):
        held = {name: value for name, value in tensors.items() if names[name] == shard}
        save_file(held, path.with_name(shard), {"format": "pt"})
    Path(f"{path}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    path.unlink()
    assert read_weights(folder / "transformer").numbers == numbers == sum(v.numel() for v in tensors.values())
    after = load_editable(str(folder)).network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_folder_that_training_packs_is_loaded(tmp_path: Path) -> None:
    words, codec = tokenizer(), PatchCodec()
    networks = Backbone(len(words), 48, 16).eval()
    (tmp_path / "font").touch()
    options = TrainOptions(folder=tmp_path, font=tmp_path / "font")
    path = pack(Trained(networks, codec, words, scheduler()), options)
    backbone = load_editable(str(path))
    assert read_folder(path).pipeline == "PixArtAlphaPipeline"
    assert (backbone.resolution, backbone.size_multiple, backbone.trained.predicts) == (128, 16, "v")
    picture = torch.rand(2, 3, 128, 160) * 2 - 1
    latents = backbone.encode(picture)
    torch.testing.assert_close(latents, codec.float().encode(picture).latent_dist.mode(), atol=1e-2, rtol=1e-2)
    assert backbone.decode(latents).shape == picture.shape
    prompts = backbone.encode_prompts(["fox on a teal background", ""])
    tokens = words(["fox on a teal background", ""], padding="max_length", max_length=LONGEST, return_tensors="pt")
    assert [word.text for word in prompts.words[0]] == ["fox", "on", "a", "teal", "background"]
    assert [word.tokens for word in prompts.words[0]] == [(0,), (1,), (2,), (3,), (4,)]
    with torch.no_grad():
        theirs = networks.float().text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)
    torch.testing.assert_close(prompts.embeddings, theirs.last_hidden_state)
