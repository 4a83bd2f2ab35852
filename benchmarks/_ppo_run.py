"""One training with rewards by stock TRL, in an interpreter of its own: job.json and out.json as arguments (see grpo_ppo.py)."""

import gc
import json
import logging
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import torch
import transformers
import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PrinterCallback,
    TrainerCallback,
)

from sc_c2s.rl.rewards import rank_weighted_overlap

NEVER = -1e4
N_JUDGED = 256


class Scribe(TrainerCallback):
    """Stops the clock every few updates, and scores fresh completions."""

    def __init__(self, job, data, model, tokenizer):
        self.job, self.data, self.model, self.tokenizer = job, data, model, tokenizer
        self.rows, self.seconds, self.cpu, self.paused = [], 0.0, 0.0, True
        self.tokens = {"forward": 0, "backward": 0}

    def count(self, module, args, kwargs):
        """Add the tokens that a model reads, and of these the ones that gradients go back through."""
        if not self.paused:
            ids = kwargs.get("input_ids", kwargs.get("inputs_embeds", args[0] if args else None))
            n = ids.shape[0] * ids.shape[1]
            self.tokens["forward"] += n
            self.tokens["backward"] += n * torch.is_grad_enabled()

    def follow(self, *models):
        for model in models:
            if model is not None:
                model.model.register_forward_pre_hook(self.count, with_kwargs=True)

    def on_train_begin(self, args, state, control, **kwargs):
        self.write(0)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.job["every"] == 0:
            self.seconds += time.perf_counter() - self.begun[0]
            self.cpu += time.process_time() - self.begun[1]
            self.write(state.global_step)

    def write(self, step):
        self.paused = True
        n = step * self.job["n_completions"]
        row = {"update": step, "completions": n, "generated": n * self.job["n_words"]}
        row |= {"seconds": self.seconds, "cpu": self.cpu}
        self.rows.append(row | self.tokens | self.judged(step))
        self.paused, self.begun = False, (time.perf_counter(), time.process_time())

    @torch.no_grad()
    def judged(self, step):
        """Mean overlap of completions with the cells of the type that were asked for."""
        types = [
            name for name in self.data["prompts"] if all(self.data[one].get(name) for one in ("test", "validation"))
        ]
        asked = [types[i % len(types)] for i in range(N_JUDGED)]
        prompts = self.tokenizer([self.data["prompts"][name] for name in asked], return_tensors="pt", padding=True)
        how = GenerationConfig(
            max_new_tokens=self.job["n_words"],
            do_sample=True,
            top_k=0,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(100_000 * self.job["seed"] + step)
            ids = self.model.generate(
                input_ids=prompts["input_ids"], attention_mask=prompts["attention_mask"], generation_config=how
            )[:, prompts["input_ids"].shape[1] :]
        assert ids.shape[1] == self.job["n_words"]
        written = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        scores = {
            which: float(
                np.mean([np.mean(overlap([text] * len(real), real, self.job["n_words"])) for text, real in pairs])
            )
            for which in ("test", "validation")
            for pairs in [[(text, self.data[which][name]) for text, name in zip(written, asked, strict=True)]]
        }
        return scores | {"different": float(np.mean([len(set(text.split())) for text in written]))}


def overlap(completions, sentences, n):
    return rank_weighted_overlap(completions, sentences, n)


class RewardModel(torch.nn.Module):
    """What PPOTrainer takes for a reward model: it reads completions as text, and asks the reward function.

    Its ``get_reward`` wants hidden states and a linear map of them to scores; the hidden states are the scores themselves.
    """

    base_model_prefix = "reader"

    def __init__(self, job, data, tokenizer):
        super().__init__()
        self.score, self.job, self.data, self.tokenizer = torch.nn.Identity(), job, data, tokenizer
        self.rng = np.random.default_rng(job["seed"])
        ids = tokenizer(list(data["prompts"].values()))["input_ids"]
        self.type_of = {tuple(row): name for row, name in zip(ids, data["prompts"], strict=True)}

    def reader(self, input_ids, **kwargs):
        n = self.job["n_words"]
        types = [self.type_of[tuple(row)] for row in input_ids[:, :-n].tolist()]
        sentences = [self.rng.choice(self.data["train"][name]) for name in types]
        completions = self.tokenizer.batch_decode(input_ids[:, -n:], skip_special_tokens=True)
        rewards = torch.tensor(overlap(completions, sentences, n), dtype=torch.float32)
        return SimpleNamespace(hidden_states=[rewards[:, None, None].expand(-1, input_ids.shape[1], 1)])


def silent(model, tokenizer):
    """Never write the padding or the end, in drawing as in learning: completions are as long as they may be."""
    bias = torch.zeros(model.lm_head.out_features)
    bias[[tokenizer.pad_token_id, tokenizer.eos_token_id]] = NEVER
    model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return model


def common(job, folder):
    """Settings that all methods share."""
    return {
        "output_dir": folder,
        "learning_rate": job["rate"],
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": job["n_completions"],
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 1,
        "temperature": 1.0,
        "seed": job["seed"],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1_000_000,
    }


def grouped(job, data, model, tokenizer, scribe, types, folder):
    """GRPO and RLOO: several completions to a prompt."""
    config, trainer = {"grpo": (trl.GRPOConfig, trl.GRPOTrainer), "rloo": (trl.RLOOConfig, trl.RLOOTrainer)}[
        job["method"]
    ]
    rng = np.random.default_rng(job["seed"])
    rows = [{"prompt": data["prompts"][name], "sentence": str(rng.choice(data["train"][name]))} for name in types]

    def reward(completions, sentence, **columns):
        return overlap(completions, sentence, job["n_words"])

    how = {"loss_type": "dapo", "use_vllm": False} if job["method"] == "grpo" else {}
    made = trainer(
        model=model,
        reward_funcs=[reward],
        args=config(
            **common(job, folder),
            **how,
            max_steps=job["n_updates"],
            num_generations=job["n_generations"],
            max_completion_length=job["n_words"],
            beta=job["kl"],
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[scribe],
    )
    if made.ref_model is not None:
        silent(made.ref_model, tokenizer)  # TRL opens the directory again
    scribe.follow(model, made.ref_model)
    return made


def ppo(job, data, model, tokenizer, scribe, types, folder):
    """PPO: one completion to a prompt, and a model of the values."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    value = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1, dtype=torch.float32)
    torch.nn.init.zeros_(value.score.weight)
    rows = [{"input_ids": tokenizer(data["prompts"][name])["input_ids"]} for name in types]
    made = PPOTrainer(
        args=PPOConfig(
            **common(job, folder),
            total_episodes=job["n_updates"] * job["n_completions"],
            num_ppo_epochs=job["n_epochs"],
            num_mini_batches=1,
            response_length=job["n_words"],
            kl_coef=job["kl"],
            num_sample_generations=0,
        ),
        processing_class=tokenizer,
        model=model,
        ref_model=None,
        reward_model=RewardModel(job, data, tokenizer),
        value_model=value,
        train_dataset=Dataset.from_list(rows),
        # It wants rows to write examples for, which it is told not to write.
        eval_dataset=Dataset.from_list(rows[: job["n_completions"]]),
        callbacks=[scribe],
    )
    scribe.follow(model, made.ref_model, value)
    return made


def main():
    job = json.load(open(sys.argv[1]))
    data = json.load(open(job["data"]))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    torch.set_num_threads(job["threads"])
    transformers.set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = silent(AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32), tokenizer)
    scribe = Scribe(job, data, model, tokenizer)
    names, rng = sorted(data["prompts"]), np.random.default_rng(job["seed"])
    n = job["n_updates"] * job["n_completions"] // job["n_generations"]
    types = [names[i] for i in rng.integers(len(names), size=n)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = (grouped if job["method"] in ("grpo", "rloo") else ppo)(
            job, data, model, tokenizer, scribe, types, folder
        )
        trainer.remove_callback(PrinterCallback)
        # PPOTrainer collects garbage twice an update; on a small model going through all that was imported would be most of it.
        gc.collect()
        gc.freeze()
        trainer.train()
    versions = {one.__name__: one.__version__ for one in (trl, transformers, torch)}
    json.dump({"rows": scribe.rows, "versions": versions}, open(sys.argv[2], "w"))


if __name__ == "__main__":
    main()
