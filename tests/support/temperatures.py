"""A study in which temperature alone matters."""

import numpy as np
import polars as pl

TEMPERATURES = (0.0, 0.5, 1.0)


def make_results(
    effect: float = 1.0, queries: int = 12, trials: int = 24, role: str = "fill", seed: int = 0, noise: float = 0.3
) -> pl.DataFrame:
    """A study in which temperature alone matters: each step costs `effect`; top_p has none."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(5, 2, queries)
    rows = []
    for trial in range(trials):
        temperature = TEMPERATURES[trial % 3]
        top_p = 1.0 if temperature == 0 else float(generator.choice([0.5, 0.75, 1.0]))
        replicate = int(trial == 1)
        if trial <= 1:
            temperature, top_p = 0.0, 1.0
        roles = {0: "baseline", 1: "replicate", 2: "one-factor"}
        for query in range(queries):
            for turn in (1, 2):
                score = difficulty[query] - effect * temperature * 2 + generator.normal(0, noise)
                rows.append(
                    {
                        "study": "s",
                        "trial": trial,
                        "condition_id": f"c{0 if trial == 1 else trial}",
                        "role": roles.get(trial, role),
                        "replicate": replicate,
                        "varied": "temperature" if trial == 2 else None,
                        "reference": "c0" if trial in (1, 2) else None,
                        "label": "temperature=0" if trial == 0 else f"trial {trial}",
                        "state": "complete",
                        "failed_because": None,
                        "active": ["temperature"] if temperature == 0 else ["temperature", "top_p"],
                        "param.temperature": temperature,
                        "param.top_p": top_p if temperature > 0 else 0.5,
                        "param.top_k": 0,
                        "param.min_p": 0.0,
                        "query_id": f"q{query}",
                        "category": "math",
                        "turn": turn,
                        "query": f"query {query}, turn {turn}",
                        "judge": "fake",
                        "judge_details": "{}",
                        **dict.fromkeys(("seed", "judge_calls", "judge_prompt_tokens", "judge_completion_tokens"), 0),
                        "answer": "word " * (5 + (7 * trial + 3 * query + turn) % 30),
                        "score": score,
                        "unscored": None,
                        "prompt_tokens": 100,
                        "completion_tokens": 10,
                        "truncated": False,
                        "repetition": 0.0,
                    }
                )
    return pl.DataFrame(rows)
