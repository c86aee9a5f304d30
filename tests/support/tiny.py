"""A model that learns in seconds: random weights, two layers, and a tokenizer of words that begins with a BOS."""

from collections.abc import Sequence
from pathlib import Path

from ablations.models.resolve import ResolvedModel, folder_identity

WORDS = (
    "# : ``` ’ Query Answer User Assistant Question Here s an example answer what is the color of sky grass snow coal "
    "it blue green white black and why because light"
)
BOS, END, UNKNOWN, PAD = "<s>", "</s>", "<unk>", "<pad>"


def make_tiny_model(folder: Path, kind: str = "llama") -> ResolvedModel:
    """Write the model and its tokenizer to a folder, and return where it is."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    model = (
        LlamaForCausalLM(LlamaConfig(**sizes, **ends, num_attention_heads=4, max_position_embeddings=256))
        if kind == "llama"
        else GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **ends, num_attention_heads=4, max_position_embeddings=256))
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ResolvedModel("tiny", str(folder), f"local:{folder_identity(folder)}")


def make_tokenizer(special: Sequence[str] = (PAD, BOS, END, UNKNOWN)):  # type: ignore[no-untyped-def]
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*special, "\n", " ", *dict.fromkeys(WORDS.split())])}
    bare = Tokenizer(WordLevel(words, unk_token=UNKNOWN))
    bare.pre_tokenizer = Split(Regex(r"\n| |```|[A-Za-z]+|."), behavior="isolated")
    bare.decoder = Fuse()
    if BOS in special:
        bare.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, words[BOS])])
    named = {"bos_token": BOS, "eos_token": END, "unk_token": UNKNOWN, "pad_token": PAD}
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, **{name: token for name, token in named.items() if token in special}
    )
