"""What does a language model of the user's answer? A local transformers folder, asked offline and without chance.

Greedy decoding: the same folder gives the same answer again. Weights are read from safetensors alone, no code of the
folder is run; a chat template, where there is one, is rendered in the sandbox that transformers has for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError, cut
from bench.model_folders import folder_digest, model_folder, offline

OPTION = "--language-model"
WHAT = "a folder of transformers with a causal language model (config.json, tokenizer, .safetensors)"


def check_language_folder(folder: Path) -> str | None:
    """What is wrong with the folder of a language model, in words, without opening it; None where nothing is."""
    return model_folder(OPTION, folder, "config.json", WHAT)


@dataclass(frozen=True)
class LanguageModel:
    """An opened model and its tokenizer."""

    folder: Path
    tokenizer: Any
    model: Any

    @staticmethod
    def open(folder: Path, device: str = "cpu") -> LanguageModel:
        """The model of a local folder. Raises UsageError saying what is wrong with it and what to give."""
        if words := check_language_folder(folder):
            raise UsageError(words)
        offline()
        from transformers import AutoModelForCausalLM, AutoTokenizer

        rules: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **rules)
            model = AutoModelForCausalLM.from_pretrained(str(folder), use_safetensors=True, **rules)
        except Exception as error:  # a damaged folder fails in as many ways as the library has readers
            raise UsageError(f"{OPTION} {folder}: {cut(error)}. Give {WHAT}") from None
        return LanguageModel(folder, tokenizer, model.eval().to(device))

    @property
    def identity(self) -> Mapping[str, str]:
        """What a record says of the model: the folder's name and the sha256 of everything in it."""
        return {"folder": self.folder.resolve().name, "sha256": folder_digest(self.folder)}

    def answer(self, instruction: str, most_tokens: int) -> str:
        """What the model goes on to write: the new text alone, at most so many tokens. Raises BenchError."""
        try:
            return self._written(instruction, most_tokens)
        except Exception as error:  # too few positions or words, a template that does not fit, no memory left
            raise BenchError(f"{OPTION} {self.folder}: it cannot answer ({cut(error)}). Give another model") from None

    def _written(self, instruction: str, most_tokens: int) -> str:
        import torch

        given = self._tokens(instruction).to(self.model.device)
        pad = self.tokenizer.pad_token_id
        with torch.no_grad():
            made = self.model.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=most_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self.tokenizer.eos_token_id if pad is None else pad,
            )
        return str(self.tokenizer.decode(made[0, given.shape[1] :], skip_special_tokens=True))

    def _tokens(self, instruction: str) -> Any:
        """(1, L): as an instruction where the model knows what that is, else as plain text."""
        if not self.tokenizer.chat_template:
            return self.tokenizer(instruction, return_tensors="pt").input_ids
        told = [{"role": "user", "content": instruction}]
        asked = self.tokenizer.apply_chat_template(
            told, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return asked["input_ids"]
