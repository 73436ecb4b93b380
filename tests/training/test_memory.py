"""The estimate against the memory that real models take: counted, and measured at the allocator."""

import copy
from dataclasses import replace

import psutil
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_llm, read_config, skeleton
from mmadapter.cli.train import main
from mmadapter.config.presets import PRESET_NEEDS, PRESETS
from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from mmadapter.training.memory import (
    ANSWER_TOKENS,
    LIBRARIES,
    OPTIONS,
    Memory,
    _smaller,
    check_memory,
    kept_by_a_layer,
    training_memory,
    weight_bytes,
)
from tests.backbone.families import CONFIGS, loaded, random_model
from tests.hub_server import client_of, hub_server
from tests.tiny import FEATURE_SIZES, FixedTower, byte_tokenizer

CPU = torch.device("cpu")
LLAMA_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)
SMOLLM2 = LlamaConfig(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    tie_word_embeddings=True,
)
PAPER = PRESETS["paper"]


@pytest.mark.parametrize("family", CONFIGS)
def test_counted_weights_are_the_models(family):
    model = random_model(CONFIGS[family])
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    assert weight_bytes(skeleton(CONFIGS[family]), torch.float32) == parameters
    assert weight_bytes(skeleton(CONFIGS[family]), torch.bfloat16) == parameters / 2


def test_llama_7b():
    """6,738,415,616 parameters, as Meta's; and what a layer keeps of a token in bfloat16, by hand."""
    assert weight_bytes(skeleton(LLAMA_7B), torch.bfloat16) == 2 * 6_738_415_616
    norms, heads, mlp = 2 * 4 * 4096, 6 * 2 * 4096, 3 * 2 * 11008  # of heads: q, k, v, out; prompts' out, and with I_p
    kept, enters = kept_by_a_layer(LLAMA_7B, (8, 512), 10, torch.bfloat16)
    assert kept == pytest.approx(8 * 512 * (norms + heads + mlp), rel=0.01)
    assert enters == 8 * 512 * 2 * 4096
    assert training_memory(PAPER, LLAMA_7B, CPU).weights == 2 * 6_738_415_616


@pytest.mark.parametrize("quantise", ["8bit", "4bit"])
def test_quantised_weights_are_as_large_as_counted(quantise, tmp_path):
    pytest.importorskip("bitsandbytes")
    config = LlamaConfig(
        vocab_size=261, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4
    )
    random_model(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = load_llm(str(tmp_path), quantise=quantise).model
    scales = [
        part.nbytes
        for module in model.modules()
        if (state := getattr(getattr(module, "weight", None), "quant_state", None)) is not None
        for part in (state.absmax, state.state2.absmax)
    ]
    held = sum(parameter.nbytes for parameter in model.parameters()) + sum(scales)
    assert weight_bytes(skeleton(config), torch.float32, quantise) == pytest.approx(held, rel=0.01)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("tiny", {}),
        *(
            ("small", {"dtype": dtype, "checkpointing": less})
            for dtype in ("float32", "bfloat16")
            for less in (False, True)
        ),
        ("paper", {}),
        ("paper", {"checkpointing": True}),
        ("paper", {"checkpointing": True, "quantise": "4bit"}),
    ],
)
def test_what_presets_are_said_to_need(preset, changes):
    written = {"tiny": None, "small": SMOLLM2, "paper": LLAMA_7B}[preset] or read_config("tiny-llama")
    memory = training_memory(RunConfig(**{**vars(PRESETS[preset]), **changes}), written, CPU)
    assert f"{memory.total / 1e9:.1f} GB" in PRESET_NEEDS[preset]


def test_offloaded_layers_take_main_memory_and_the_gpu_a_few_of_them(monkeypatch):
    """Of 32 layers at 405 MB: three, the keys' and values' matrices of 30, words and head."""
    config = RunConfig(**{**vars(PAPER), "offload": True, "checkpointing": True})
    layer, matrix, words = 2 * (4 * 4096**2 + 3 * 4096 * 11008), 2 * 4096**2, 2 * 2 * 32000 * 4096
    expected = 3 * layer + 30 * 2 * matrix + words
    assert training_memory(config, LLAMA_7B, torch.device("cuda")).weights == pytest.approx(expected, rel=1e-3)
    assert training_memory(config, LLAMA_7B, CPU).weights == 2 * 6_738_415_616
    monkeypatch.setattr("mmadapter.training.memory.read_config", lambda name: LLAMA_7B)
    monkeypatch.setattr(
        "mmadapter.training.memory.free_memory", lambda device: int({"cuda": 8e9, "cpu": 9e9}[device.type])
    )
    with pytest.raises(UserError, match=r"--offload: --llm huggyllama/llama-7b has 13.5 GB, main memory 9.0 GB free"):
        check_memory(config, torch.device("cuda"))


def test_the_loss_on_the_choice_reads_every_option():
    small = RunConfig(**vars(PRESETS["small"]))
    plain, choice = (training_memory(replace(small, choice_loss=weight), SMOLLM2, CPU) for weight in (0.0, 1.0))
    assert choice.logits == OPTIONS * plain.logits
    assert choice.activations == plain.activations  # --forward-tokens bounds them


def peak(run) -> int:
    """Bytes allocated at once, at most, while `run` runs; what was there before is not counted."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "mistral with a window", "gemma2", "qwen3"])
def test_the_estimate_is_close_to_the_measured_peak(family, checkpointing):
    """Of a training step of full rows with images: never below it."""
    rows, length, depth = 16, 64, 8
    written = copy.deepcopy(CONFIGS[family])
    written.num_hidden_layers = depth
    if getattr(written, "layer_types", None):
        written.layer_types = written.layer_types * (depth // 4)
    config = RunConfig(
        batch_size=rows, max_tokens=length, adapter_layers=depth, dtype="float32", checkpointing=checkpointing
    )
    estimate = training_memory(config, written, CPU)
    llm = LanguageModel(random_model(written, ATTENTION_NAME), byte_tokenizer(), "tiny")
    model = MultimodalAdapter.build(llm, FixedTower(), adapter_layers=depth)
    model.checkpointing = checkpointing
    tokens, features = torch.randint(3, 250, (rows, length)), torch.randn(rows, sum(FEATURE_SIZES))
    read = torch.arange(rows).repeat_interleave(ANSWER_TOKENS), torch.arange(-ANSWER_TOKENS, 0).repeat(rows)

    def step():
        cross_entropy(model.logits(model.adapter(features), tokens, read), tokens[read]).backward()

    step()
    measured = peak(step)
    assert measured <= estimate.total - estimate.weights - LIBRARIES <= measured * 1.45


def test_recomputation_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = MultimodalAdapter.build(copy.copy(loaded("gemma3")), None, adapter_layers=3)
        torch.nn.init.constant_(model.adapter.gates, 0.4)
        model.checkpointing = checkpointing
        tokens = torch.randint(3, 250, (3, 13), generator=torch.Generator().manual_seed(0))
        logits = model.logits(model.adapter(), tokens, (torch.arange(3), torch.full((3,), 12)))
        gradients.append(torch.autograd.grad(logits.square().sum(), list(model.adapter.parameters())))
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


@pytest.fixture
def hub(tmp_path):
    with hub_server() as hub, client_of(hub, tmp_path / "cache"):
        LLAMA_7B.save_pretrained(tmp_path / "llama")
        byte_tokenizer().save_pretrained(tmp_path / "llama")
        files = {path.name: path.read_bytes() for path in (tmp_path / "llama").iterdir()}
        hub.put("org/llama-7b", {**files, "model.safetensors": b"many"})
        yield hub


def memory_of(monkeypatch, gigabytes: float) -> None:
    free = type("Memory", (), {"available": int(gigabytes * 1e9)})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)


@pytest.mark.parametrize(
    ("gigabytes", "fits", "too_large"),
    [
        (50, "these would fit: --forward-tokens 2048", "none"),
        (20, "these would fit: --dtype bfloat16 --checkpointing --forward-tokens 512", "--forward-tokens 1024"),
        (6, "these would fit: --quantise 4bit", "--quantise 8bit"),
        (0.001, "none of the usual: choose a smaller model", "--preset small"),
    ],
)
def test_too_large_is_told_with_what_would_fit_before_a_weight_is_fetched(hub, monkeypatch, gigabytes, fits, too_large):
    memory_of(monkeypatch, gigabytes)
    config = RunConfig(**{**vars(PAPER), "llm": "org/llama-7b", "dtype": "float32"})
    monkeypatch.setattr("mmadapter.training.memory.PRESETS", {"small": config})
    with pytest.raises(
        UserError, match=r"^--llm org/llama-7b: its training needs about .* GB \(weights 27.0, "
    ) as told:
        check_memory(config, CPU)
    assert fits in str(told.value)
    assert too_large not in str(told.value)
    assert not [request for request in hub.requests if "safetensors" in request and "GET" in request]


def test_flags_that_are_told_go_together():
    for flags in dict(_smaller(PRESETS["small"], torch.device("cuda"))):
        assert main(["--preset", "small", *flags.split(), "--print-config"]) == 0


def test_what_fits_is_let_through(hub, monkeypatch):
    memory_of(monkeypatch, 200)
    config = RunConfig(**{**vars(PAPER), "llm": "org/llama-7b"})
    memory = check_memory(config, CPU)
    assert isinstance(memory, Memory)
    assert memory.total > memory.weights + memory.activations + memory.logits
    assert read_config("org/llama-7b").hidden_size == 4096


def test_the_command_tells_it_before_anything_else(monkeypatch, capsys, tmp_path):
    memory_of(monkeypatch, 0.001)
    assert main(["--preset", "tiny", "--output-dir", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mmadapter-train: --llm tiny-llama: its training needs about ")
    assert len(told.splitlines()) == 2
    assert not (tmp_path / "run").exists()
