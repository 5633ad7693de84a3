"""Rows of training data for a model, with the log-probabilities it would have recorded."""

from agentsearch.data import rows

WORDS = ("red", "ball", "left", "right", "up", "down", "pick", "open")


def combinations():
    """(wanted, other) for each two words."""
    return [(a, b) for a in WORDS for b in WORDS if a != b]


class Recorder:
    """A model and its tokenizer, from a folder."""

    def __init__(self, folder, version="policy@1"):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.version = version

    def prompt(self, text):
        chat = [{"role": "user", "content": text}]
        text = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return self.encode(text)

    def encode(self, text):
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def answer(self, text):
        return (*self.encode(text), self.tokenizer.eos_token_id)

    def logprobs(self, prompt, ids):
        """Log-probability of each id after the prompt."""
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].tolist()

    def common(self, **changes):
        start = {"env": "say", "task_id": "say/1", "run": "r", "policy_version": self.version}
        return {**start, "node_ids": (1,), **changes}

    def success(self, wanted, other, **changes):
        """A row of `sft.parquet`: one turn, asked to say a word and not another."""
        prompt, ids = self.prompt(f"say {wanted} not {other}"), self.answer(f" {wanted}")
        logprobs, off = self.logprobs(prompt, ids), len(prompt)
        row = {
            "input_ids": (*prompt, *ids),
            "completion_mask": (*[0] * off, *[1] * len(ids)),
            "logprobs": (*[0.0] * off, *logprobs),
            "turn_ids": (*[-1] * off, *[0] * len(ids)),
            "completions": (f" {wanted}",),
            "credit": 1.0,
        }
        return rows.SftRow(**self.common(**{**row, **changes}))

    def pair(self, wanted, other, **changes):
        """A row of `preferences.parquet`: the wanted word is better than the other one."""
        prompt = self.prompt(f"say {wanted} not {other}")
        row = {"prompt_ids": prompt, "kind": "step", "unvisited": False, "margin": 0.5}
        for side, word, value in (("chosen", wanted, 0.75), ("rejected", other, 0.25)):
            ids = self.answer(f" {word}")
            logprobs = self.logprobs(prompt, ids)
            row[f"{side}_ids"], row[f"{side}_mask"] = ids, (1,) * len(ids)
            row[f"{side}_turn_ids"], row[f"{side}_logprobs"] = (0,) * len(ids), tuple(logprobs)
            row[f"ref_{side}_logps"], row[f"{side}_value"] = sum(logprobs), value
            row[f"{side}_texts"] = (f" {word}",)
        return rows.PreferenceRow(**self.common(**{**row, **changes}))


def save(folder, kind, content):
    """Write rows as `agentsearch collect` does; the folder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.write(folder, kind, rows.table(content, kind))
    return str(folder)


def dataset(kind, content):
    """Rows as the trainers read them, without a file."""
    import datasets

    return datasets.Dataset(rows.table(content, kind))


def equal_weights(one, other):
    """Whether two folders hold the same weights, bit for bit."""
    from safetensors.torch import load_file

    files = [load_file(folder / "model.safetensors") for folder in (one, other)]
    return all((files[0][name] == files[1][name]).all() for name in files[0] | files[1])
