"""The engine of every study: conditions -> completions -> judgments -> trial records."""
