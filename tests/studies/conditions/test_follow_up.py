"""Claims about a study and its confirmation in one run: what is asked, resumed, run again, shown and logged."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, BudgetError, PromptError, StorageError, StudyMismatchError
from ablations.core.records import Completion, Judgment, Prompt, Query, Score
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.registry import make_judge
from ablations.storage.locks import study_lock
from ablations.storage.workspace import follow_up_account
from ablations.studies.conditions.confirmation import Confirmation, HeldBack
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.tracking.client import open_client
from tests.support.bad_server import MODEL, bad_server
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import changed, make_spec
from tests.support.world import NeverAsked, World

TRIALS = 5
SEEN, HELD_BACK = make_queries(7)[:4], make_queries(7)[4:]
GREEDY = "[parameters.max_tokens]\nchoices = [8, 10, 12]\n[study.baseline]\ntemperature = 0.0\nmax_tokens = 8\n"


class StartedOnce(FakeBackend):
    """Counts its starts, and refuses to answer before one."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        assert self.starts == 1
        return await super().generate(prompt, decoding, seed)


class Confirmed(World):
    """A folder of results, begun as a copy of another one, and studies run and confirmed in it."""

    def __init__(self, folder: Path, begin: Path) -> None:
        shutil.copytree(begin, folder / "mlruns")
        super().__init__(folder / "mlruns")

    def confirm(
        self,
        spec: ConditionsSpec,
        best: int = 2,
        held_back: Sequence[Query] = HELD_BACK,
        backend: FakeBackend | None = None,
        judge: Any = None,
        fresh: bool = False,
    ) -> tuple[str, FakeBackend]:
        backend = backend or StartedOnce()
        return self.run(spec, backend, judge, Confirmation(best, HeldBack(tuple(held_back), ())), fresh), backend


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Path:
    """A folder of results without a study: its databases take seconds, so they are made once."""
    folder = tmp_path_factory.mktemp("empty")
    shutil.copy(empty_tracking, folder / "mlflow.db")
    optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")
    return folder


@pytest.fixture
def world(tmp_path: Path, empty: Path) -> World:
    return Confirmed(tmp_path, empty)


def sampled_spec(folder: Path) -> ConditionsSpec:
    """A study that varies the temperature of sampled answers."""
    space = "[study.baseline]\ntemperature = 0.5\n[parameters.temperature]\nlow = 0.1\nhigh = 1.0\nstep = 0.1\n"
    return changed(make_spec(folder, space), queries=SEEN, trials=TRIALS)


@pytest.fixture
def spec(tmp_path: Path) -> ConditionsSpec:
    return sampled_spec(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> tuple[Confirmed, str, FakeBackend]:
    """A confirmed study, only to be looked at: its folder, what was shown, and the backend."""
    folder = tmp_path_factory.mktemp("done")
    world = Confirmed(folder, empty)
    return world, *world.confirm(sampled_spec(folder))


@pytest.fixture
def confirmed(tmp_path: Path, done: tuple[Confirmed, str, FakeBackend]) -> World:
    """A copy of the confirmed study, to continue."""
    return Confirmed(tmp_path, done[0].places.folder)


def test_the_best_conditions_and_the_baseline_are_evaluated_again_on_one_engine(
    done: tuple[Confirmed, str, FakeBackend],
) -> None:
    world, text, backend = done
    study, again = world.frame("s"), world.frame("s.confirmation")
    means = study.filter(pl.col("replicate") == 0).group_by("condition_id", "role").agg(pl.col("score").mean())
    others = means.filter(pl.col("role") != "baseline").sort("score", descending=True)
    ids = again.select("trial", "condition_id").unique().sort("trial").get_column("condition_id").to_list()
    assert ids == [study.filter(pl.col("role") == "baseline")["condition_id"][0], *others["condition_id"][:2]]
    assert again.group_by("trial").agg(pl.col("query_id").n_unique())["query_id"].to_list() == [7, 7, 7]
    assert len(backend.requests) == (TRIALS * 4 + 3 * 7) * 2
    assert text.count("starting the fake backend") == 1
    assert "Confirmation: 2 conditions and the baseline again, on 4 queries with fresh seeds and 3 held back" in text


def test_completions_are_fresh_on_the_same_queries(done: tuple[Confirmed, str, FakeBackend]) -> None:
    world, _, backend = done
    assert len({seed for _, _, seed in backend.requests}) == (4 * 2) * 2 + (4 + 3) * 2  # the replicate has its own
    both = world.frame("s").join(world.frame("s.confirmation"), on=["condition_id", "query_id", "turn"])
    assert (both["seed"] != both["seed_right"]).all()
    assert (both["answer"] != both["answer_right"]).all()


def test_greedy_answers_to_the_same_queries_are_looked_up_and_that_is_said(world: Confirmed, tmp_path: Path) -> None:
    spec = changed(make_spec(tmp_path, GREEDY), queries=SEEN, trials=4)
    text, backend = world.confirm(spec)
    assert len(backend.requests) == (3 * 4 + 3 * 3) * 2
    assert "2 of 2 conditions, like the baseline, give the same answers whatever the seed" in " ".join(text.split())
    found = world.frame("s.confirmation")
    assert set(found["query_id"]) == {f"q{number}" for number in range(7)}


def test_a_greedy_study_without_held_back_queries_confirms_nothing_and_starts_no_engine(
    world: Confirmed, tmp_path: Path
) -> None:
    spec = changed(make_spec(tmp_path, GREEDY), queries=SEEN, trials=4)
    world.run(spec)
    text, _ = world.confirm(spec, held_back=(), backend=NeverAsked())
    assert "Not confirmed on other queries, because none was held back" in text


@pytest.mark.pages
def test_run_again_it_asks_for_nothing_starts_nothing_and_finds_the_same(
    confirmed: Confirmed, spec: ConditionsSpec, done: tuple[Confirmed, str, FakeBackend]
) -> None:
    world, first = confirmed, done[1]
    frame, runs = world.frame("s.confirmation"), len(world.runs())
    again, backend = world.confirm(spec, backend=NeverAsked())
    assert backend.requests == []
    assert world.frame("s.confirmation").equals(frame)
    assert len(world.runs()) == runs
    world.rebuild()
    world.rebuild("s.confirmation")
    (study,) = world.runs(kind="study", study="s")
    assert study.data.tags["mlflow.note.content"].count("As selected: ") == 1
    headline = next(line for line in first.splitlines() if "onfirmed: " in line)
    assert headline in again


@pytest.mark.pages
@pytest.mark.parametrize("after", [20, TRIALS * 4 * 2, 65])
def test_what_broke_off_goes_on_where_it_was(
    world: Confirmed, spec: ConditionsSpec, done: tuple[Confirmed, str, FakeBackend], after: int
) -> None:
    whole, _, undisturbed = done
    broken = FakeBackend(fail_after=after)
    with pytest.raises(BackendError):
        world.confirm(spec, backend=broken)
    _, backend = world.confirm(spec)
    assert broken.answered + len(backend.requests) == len(undisturbed.requests)
    assert world.frame("s.confirmation").equals(whole.frame("s.confirmation"))
    numbers = [run.data.tags["ablations.trial"] for run in world.runs(kind="trial", study="s.confirmation")]
    assert sorted(numbers) == ["0", "1", "2"]


def test_a_study_that_exists_can_be_confirmed_later(world: Confirmed, spec: ConditionsSpec) -> None:
    world.run(spec)
    text, backend = world.confirm(spec)
    assert len(backend.requests) == 3 * 7 * 2
    assert "its log is " in text
    assert "s.confirmation.vllm.log" not in text


@pytest.mark.pages
def test_a_confirmation_of_other_conditions_is_made_anew_from_what_is_stored(
    confirmed: Confirmed, spec: ConditionsSpec
) -> None:
    world = confirmed
    text, _ = world.confirm(spec, best=1, backend=NeverAsked())
    assert "it is run again, because conditions or queries are not those of last time" in text
    assert world.frame("s.confirmation")["trial"].n_unique() == 2
    parents = world.runs(kind="study", study="s.confirmation")
    assert len(parents) == 2  # MLflow keeps the earlier one
    shown = parents[0].data.params
    assert (shown["mode"], shown["design"], shown["confirms"], shown["trials"]) == ("ablation", "listed", "s", "2")
    assert "sampler" not in shown or shown["confirm"] == "0"
    text, _ = world.confirm(spec, best=2, held_back=HELD_BACK[:2], backend=NeverAsked())
    assert "run again, because" in text
    assert set(world.frame("s.confirmation")["query_id"]) == {f"q{number}" for number in range(6)}


class Hot(FakeJudge):
    """Prefers what has more words, which long answers have."""

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        await super().judge(query, completions)
        return Judgment(self.name, Score(float(len(completions[-1].answer.split()))))


def test_a_study_that_was_extended_is_confirmed_with_its_new_best(world: Confirmed, tmp_path: Path) -> None:
    space = "[parameters.max_tokens]\nchoices = [4, 5, 6, 9]\n[study.baseline]\ntemperature = 0.0\nmax_tokens = 4\n"
    spec = replace(make_spec(tmp_path, '[study]\ndesign = "factorial"\n' + space), queries=SEEN)
    world.confirm(changed(spec, trials=3), best=1, judge=Hot())
    assert set(world.frame("s.confirmation")["param.max_tokens"]) == {4, 6}
    text, _ = world.confirm(changed(spec, trials=4), best=1, judge=Hot())
    assert set(world.frame("s.confirmation")["param.max_tokens"]) == {4, 9}
    assert "run again, because" in text


def test_a_changed_configuration_is_refused_before_the_engine_starts(
    confirmed: Confirmed, spec: ConditionsSpec
) -> None:
    world = confirmed
    with pytest.raises(StudyMismatchError, match="seed: was 0, now 7"):
        world.confirm(changed(spec, seed=7), backend=NeverAsked())
    store = world.store
    store.forget_study("s")
    store.close()
    with pytest.raises(
        StudyMismatchError, match=r"the study 's\.confirmation' exists.*(?s:.)*min_coverage: was 0.9, now 0.5"
    ):
        world.confirm(changed(spec, min_coverage=0.5), backend=NeverAsked())


def test_a_fresh_study_has_a_fresh_confirmation_even_where_it_is_not_confirmed(
    confirmed: Confirmed, spec: ConditionsSpec
) -> None:
    world = confirmed
    world.run(changed(spec, min_coverage=0.5), fresh=True)
    store = world.store
    assert store.find_study("s.confirmation") is None
    store.close()
    text, _ = world.confirm(changed(spec, min_coverage=0.5), backend=NeverAsked())
    assert "onfirmed: " in text


def test_a_study_of_the_follow_ups_name_stays_as_it_is(world: Confirmed, spec: ConditionsSpec) -> None:
    own = changed(spec, name="s.confirmation", trials=2)
    world.run(own)
    frame = world.frame("s.confirmation")
    for fresh in (False, True):
        with pytest.raises(StudyMismatchError, match="another study of that name exists"):
            world.confirm(spec, backend=NeverAsked(), fresh=fresh)
    world.run(spec, fresh=True)  # --fresh of its neighbour
    store = world.store
    assert store.find_study("s.confirmation") is not None
    store.close()
    assert world.frame("s.confirmation").equals(frame)


def test_two_processes_do_not_confirm_one_study_at_once(world: Confirmed, spec: ConditionsSpec) -> None:
    world.places.prepare()
    with study_lock(world.places, "s.confirmation"), pytest.raises(StorageError, match="being run by another process"):
        world.confirm(spec, backend=NeverAsked())


@pytest.mark.pages
def test_mlflow_holds_the_confirmation_as_a_run_of_the_experiment_with_headline_table_and_figure(
    done: tuple[Confirmed, str, FakeBackend],
) -> None:
    world, _, _ = done
    (parent,) = world.runs(kind="study", study="s.confirmation")
    (study,) = world.runs(kind="study", study="s")
    assert parent.info.experiment_id == study.info.experiment_id
    assert parent.info.status == "FINISHED"
    headline, _, rest = study.data.tags["mlflow.note.content"].partition("\n\n")
    assert headline == parent.data.tags["mlflow.note.content"].partition("\n")[0]
    assert rest.startswith("As selected: ")
    assert "onfirmed: " in parent.data.tags["mlflow.note.content"]
    assert parent.data.params["confirms"] == "s"
    assert {"selected_lead/1", "fresh_lead/1", "held_back_lead/2", "shrinkage_low/1"} <= set(parent.data.metrics)
    client = open_client(world.places.tracking_uri)
    files = {
        file.path for folder in ("", "tables", "figures") for file in client.list_artifacts(parent.info.run_id, folder)
    }
    assert {"results.parquet", "tables/confirmation.json", "figures/confirmation.png"} <= files


def test_the_report_shows_the_lead_three_times(done: tuple[Confirmed, str, FakeBackend]) -> None:
    _, text, _ = done
    for expected in ("as selected", "fresh seeds", "held back", "shrinkage", "4 queries again and 3 held back"):
        assert expected in text


def test_without_scores_there_is_nothing_to_confirm(world: Confirmed, spec: ConditionsSpec) -> None:
    text, backend = world.confirm(spec, judge=FakeJudge(unscored=[query.id for query in SEEN]))
    assert "Nothing to confirm: the baseline or every other condition lacks enough scores." in text
    assert len(backend.requests) == TRIALS * 4 * 2


def test_a_held_back_query_that_does_not_fit_the_context_is_refused_before_anything_runs(
    world: Confirmed, spec: ConditionsSpec
) -> None:
    long = replace(HELD_BACK[0], turns=("word " * 900, "more"))
    with pytest.raises(PromptError, match=r"held back, query 'q4' .*; or --held-back 0 confirms fresh seeds alone"):
        world.confirm(spec, held_back=[long], backend=FakeBackend(context_length=1400))
    assert not (world.folder / "store.db").exists()


def test_the_confirmations_judging_counts_against_the_limit_and_has_an_account_of_its_own(
    world: Confirmed, spec: ConditionsSpec, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(f'["{MODEL}"]\nprompt = 1000.0\ncompletion = 1000.0\n')
    with bad_server([]) as server:

        def judge(max_cost: float | None) -> Any:
            limits = Limits(in_flight=1)
            return make_judge(
                "rubric", JudgeSettings(MODEL, server.url, None, prices, max_cost, limits, reply_tokens=64)
            )

        def paid() -> tuple[float, float]:
            price, store = judge(None).budget.price, world.store
            study_id = store.add_study("s", {})
            found = tuple(price.cost(store.paid(name)) for name in (study_id, follow_up_account(study_id)))
            store.close()
            return found  # type: ignore[return-value]

        spec, held_back = changed(spec, trials=3, queries=SEEN[:2]), HELD_BACK[:2]
        world.run(spec, judge=judge(None))
        study, nothing = paid()
        assert (study > 0, nothing) == (True, 0)
        with pytest.raises(BudgetError):
            world.confirm(spec, best=1, held_back=held_back, judge=judge(study * 1.3))
        assert 0 < sum(paid()) - study <= 0.3 * study
        with pytest.raises(BudgetError):  # what the first run paid counts
            world.confirm(spec, best=1, held_back=held_back, judge=judge(study * 1.3))
        assert sum(paid()) <= 1.3 * study
        text, _ = world.confirm(spec, best=1, held_back=held_back, judge=judge(None))
        before = paid()
        world.confirm(spec, best=1, held_back=HELD_BACK[:1], judge=judge(None), backend=NeverAsked())
        assert paid() == before  # run again, it has the same account
        assert text.count("Judging: ") == 2
