"""How often intervals must cover the truth in simulated studies."""

STUDIES = 1000


def check(what: str, covered: int | float, studies: int = STUDIES, least: float = 0.93, most: float = 0.97) -> None:
    share = float(covered) / studies
    print(f"coverage | {what} | {share:.1%} of {studies}")
    assert least <= share <= most
