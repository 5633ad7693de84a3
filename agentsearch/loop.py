"""Rounds of search, collect, train and evaluate: what `agentsearch loop` does.

    runs/<name>/loop.yaml            the recipe
                searches/game24-1    run folder of round 1
                data/1               what its trees are turned into
                policies/policy-0001 what is trained on that
                evals/game24-1       the new policy on held-out tasks, alone and with search
                finals/...           the first and the best policy on other held-out tasks
                loop.json            what each round gave, and report.html for people

Every stage is a command of ours, which can be run by hand, frees its memory, and goes on after a
crash by its own rules. What comes next is read off the folder. The policy of round 0 is
the one the recipe begins with.

Sources: Putta et al., 2024 (Agent Q) and Singh et al., 2023 (ReST^EM) alternate so.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from agentsearch import commands, config, registry, warden
from agentsearch.data.runs import Run
from agentsearch.errors import AgentSearchError, ConfigError, DataError, did_you_mean
from agentsearch.runner import lock, write_whole
from agentsearch.serve import served

Fragment = dict[str, Any]
"""Some fields of a recipe."""

GRACE_S = 30.0
"""What an ended stage has to write down what it did."""
ALONE, WITH_SEARCH = "policy alone", "policy + search"
"""Rows of an evaluation."""
GREEDY: Fragment = {"search": {"name": "greedy"}}
"""The search that takes the policy's likeliest actions."""
BUDGET = "budget"
"""Name of an evaluation's only budget."""
REPORT = "agentsearch_eval.loop_report"
"""What turns a loop's folder into a page, in a room of its own."""


class StageFailed(AgentSearchError):
    """A stage ended badly; it has said why itself."""


@dataclass(frozen=True)
class EnvRecipe:
    """One environment of a loop, as parts of recipes.

    Attributes:
        base: what search and evaluation share, such as `env`, `policy` and `value`. A policy or
            value without a model of its own gets the round's.
        search: how train tasks are searched. `tasks.limit` is of a round, and each takes the
            next ones of the split.
        evaluate: how held-out tasks are solved: `tasks` and `budget`, and what else differs.
        with_search: what differs with search, at the same budget; None leaves it out.
        collect: options of `agentsearch collect` that differ from the loop's.
        finals: by name, `tasks` that the first and the best policy are tried on at the end.
    """

    base: Fragment
    search: Fragment
    evaluate: Fragment
    with_search: Fragment | None = None
    collect: Fragment = field(default_factory=Fragment)
    finals: dict[str, Fragment] = field(default_factory=dict[str, Fragment])

    def __post_init__(self) -> None:
        for key in ("tasks", "budget", "seed"):
            if key in (self.with_search or {}):
                raise ConfigError(
                    f"with_search.{key}: is the same as without search; set it in evaluate."
                )

    def held_out(self, name: str) -> dict[str, Fragment]:
        """The choices of tasks for evaluation, by key."""
        finals = {f"envs.{name}.finals.{final}": tasks for final, tasks in self.finals.items()}
        return {f"envs.{name}.evaluate.tasks": self.evaluate.get("tasks", {}), **finals}


@dataclass(frozen=True)
class Stop:
    """A loop ends before its last round where the policy alone no longer gains.

    Attributes:
        patience: rounds in a row without a gain that end it.
        gain: least rise, over the best round so far, of the policy's success, taken as the mean
            over the environments.
    """

    patience: int = 2
    gain: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ConfigError(f"stop.patience={self.patience}: must be at least 1 round.")


@dataclass(frozen=True)
class LoopRecipe:
    """A whole loop.

    Attributes:
        envs: by name.
        policy: of round 0: tiny, a folder, or ORGANISATION/NAME.
        rounds: most rounds.
        seed: of search and training.
        collect: options of `agentsearch collect`, for all environments.
        train: a recipe of `agentsearch train` without model, data, result and seed.
        train_from: what each training begins with: the `last` policy, or the `first`, as in
            ReST^EM.
        data: what a training sees: the data of the `last` round, or of `all`.
        engine: `hf` loads the policy in every stage; `vllm` serves it to them.
        port: of vLLM; the same all the time, since a run that is resumed asks where it asked.
        serve: further flags of vLLM.
        stop: when it ends early.
        run: name of its folder; None takes the recipe's.
    """

    envs: dict[str, EnvRecipe]
    train: Fragment
    collect: Fragment = field(default_factory=Fragment)
    policy: str = "tiny"
    rounds: int = 3
    seed: int = 0
    train_from: Literal["last", "first"] = "last"
    data: Literal["last", "all"] = "last"
    engine: Literal["hf", "vllm"] = "hf"
    port: int = 8000
    serve: tuple[str, ...] = ()
    stop: Stop = Stop()
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.envs:
            raise ConfigError("envs: is empty; name at least one environment to search in.")
        if self.rounds < 1:
            raise ConfigError(f"rounds={self.rounds}: must be at least 1.")
        if "trainer" not in self.train:
            raise ConfigError("train.trainer: is required; set train.trainer=sft or dpo.")
        for key in ("model", "data", "to", "seed"):
            if key in self.train:
                raise ConfigError(f"train.{key}: is set by the loop; leave it out.")
        for name, env in self.envs.items():
            for word in (name, *env.finals):
                if not re.fullmatch(r"\w[\w.-]*", word):
                    raise ConfigError(
                        f"envs.{name}: {word!r} is no name for a folder; use letters, digits, '-', "
                        "'_' and '.'."
                    )
            for key, tasks in env.held_out(name).items():
                if tasks.get("split", "test") == "train":
                    raise ConfigError(
                        f"{key}.split=train: no policy is evaluated on tasks that it learns from; "
                        "use dev or test."
                    )

    def collect_options(self, name: str) -> list[str]:
        """How an environment's trees become data, as `key=value`."""
        options = {**self.collect, **self.envs[name].collect}
        return [f"{key}={json.dumps(value)}" for key, value in options.items()]


# -- what is to be done ----------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A loop that is checked.

    Attributes:
        folder: where it is, or will be.
        stages: for each environment the runs of round 0's policy, by the keys of `recipes_of`.
    """

    recipe: LoopRecipe
    folder: Path
    stages: dict[str, dict[str, commands.Plan]]

    @property
    def sizes(self) -> dict[str, int]:
        """How many train tasks each environment has."""
        return {n: len(runs["search"].setup.env.tasks("train")) for n, runs in self.stages.items()}


def prepare(
    source: str | Path, overrides: Sequence[str] = (), runs_dir: str | Path = "runs"
) -> Plan:
    """Read and check a loop's recipe, without asking a model or writing a file.

    Args:
        source: a file, or the short name of a shipped loop such as `agent_q`.
        overrides: `key=value` with dotted keys.
        runs_dir: where its folder is made.

    Raises:
        ConfigError: no such recipe, a key or value that is wrong, or a name that is taken.
    """
    data = config.merge(config.read_yaml(loop_path(source)), overrides, whole=("envs", "train"))
    recipe: LoopRecipe = config.validated(LoopRecipe, data, "")
    folder = Path(runs_dir) / (recipe.run or own_name(source))
    if folder.exists():
        raise ConfigError(
            f"{folder}: already exists; choose another name with run=NAME, or go on with it: "
            f"agentsearch loop --resume {folder}"
        )
    return Plan(recipe, folder, check(recipe))


def prepare_resumed(
    name: str, runs_dir: str | Path = "runs", overrides: Sequence[str] = ()
) -> Plan:
    """Go on with a loop, by its name or folder.

    Args:
        name: of the loop.
        runs_dir: where its folder is looked for.
        overrides: `rounds=N`; nothing else may differ.

    Raises:
        ConfigError: something else is overridden.
        DataError: there is no such loop.
    """
    for each in overrides:
        if each.partition("=")[0].strip() != "rounds":
            raise ConfigError(f"{each}: a resumed loop keeps its recipe; only rounds can be set.")
    path = Path(runs_dir) / name
    folder = path if path.is_dir() else Path(name)
    if not (folder / "loop.yaml").is_file():
        raise DataError(f"{folder}: is no folder of a loop; it holds no loop.yaml.")
    data = config.merge(config.read_yaml(folder / "loop.yaml"), overrides, whole=())
    recipe: LoopRecipe = config.validated(LoopRecipe, data, "")
    return Plan(recipe, folder, check(recipe))


def loop_path(source: str | Path) -> Path:
    """The file that a path or short name stands for."""
    path = Path(source)
    if path.is_file():
        return path
    known = config.loop_paths()
    if str(source) in known:
        return known[str(source)]
    raise ConfigError(
        f"loop {str(source)!r}: no such file or short name.{did_you_mean(str(source), known)} "
        f"Shipped: {', '.join(known)}."
    )


def own_name(source: str | Path) -> str:
    """What a loop is called unless the recipe or the user says."""
    path = loop_path(source)
    return path.resolve().parent.name if path.name == "loop.yaml" else path.stem


def check(recipe: LoopRecipe) -> dict[str, dict[str, commands.Plan]]:
    """Build every recipe of a loop once, before compute is spent; see `Plan.stages`.

    Raises:
        ConfigError: naming the part that is wrong.
    """
    from agentsearch import collecting
    from agentsearch.train.recipe import load_recipe

    try:
        training = load_recipe({**recipe.train, "model": recipe.policy, "data": ["-"], "to": "-"})
    except AgentSearchError as error:
        raise type(error)(f"train.{error}") from error
    if training.lora is not None and not training.lora.merged:
        raise ConfigError("train.lora.merged=false: a loop goes on with the whole model; use true.")
    stages: dict[str, dict[str, commands.Plan]] = {}
    for name, env in recipe.envs.items():
        try:
            collecting.options(recipe.collect_options(name))
        except ConfigError as error:
            raise ConfigError(f"envs.{name}.collect: {error}") from error
        runs = stages[name] = {}
        for key, fields in recipes_of(env, hf(recipe.policy), recipe.seed).items():
            try:
                runs[key] = commands.prepare(fields)
            except AgentSearchError as error:
                raise type(error)(f"envs.{name}.{key}: {error}") from error
        split = runs["search"].recipe.tasks.split
        if split != "train":
            raise ConfigError(
                f"envs.{name}.search.tasks.split={split}: a policy learns from train tasks alone; "
                "use train."
            )
        decided = {task.id for task in runs["evaluate"].tasks}
        for final in env.finals:
            both = decided & {task.id for task in runs[f"finals.{final}"].tasks}
            if both:
                raise ConfigError(
                    f"envs.{name}.finals.{final}: has {len(both)} of the tasks that decide on the "
                    f"best round, such as {min(both)}; choose others."
                )
    return stages


def recipes_of(env: EnvRecipe, model: config.Component, seed: int) -> dict[str, Fragment]:
    """The recipes of an environment's stages, by the key that holds what is special in them."""
    alone = {**env.base, **env.evaluate, **GREEDY}
    found = {"search": {**env.base, **env.search}, "evaluate": alone}
    if env.with_search is not None:
        found["with_search"] = {**env.base, **env.evaluate, **env.with_search}
    for name, tasks in env.finals.items():
        found[f"finals.{name}"] = {**alone, "tasks": tasks}
    return {key: {**with_model(fields, model), "seed": seed} for key, fields in found.items()}


def hf(model: str | Path) -> config.Component:
    """The engine that loads a model in this process."""
    return {"name": "hf", "model": str(model)}


def with_model(fields: Fragment, model: config.Component) -> Fragment:
    """A recipe whose policy asks `model`, unless it names its own or needs none.

    What else the policy says of its engine, such as `memory`, is kept.
    """
    policy = config.as_component("policy", fields.get("policy", "prompted"))
    wanted = config.field_names(registry.load("policies", config.component_name("policy", policy)))
    engine = policy.get("engine", {})
    if "engine" in wanted and "name" not in engine:
        policy = {**policy, "engine": {**engine, **model}}
    return {**fields, "policy": policy}


def tasks_of_round(choice: Fragment, number: int, size: int) -> Fragment:
    """The slice of the train split that a round searches: each the next, then from the start on.

    Args:
        choice: `tasks` of the search.
        number: of the round, from 1.
        size: tasks in the split.
    """
    start, limit = choice.get("start", 0), choice.get("limit")
    if limit is None or choice.get("ids"):
        return choice
    slices = max(1, (size - start) // limit)
    return {**choice, "start": start + (number - 1) % slices * limit}


def estimate(plan: Plan) -> dict[str, Any]:
    """The most that the stages that ask the policy can use; training depends on what is found."""
    rounds, stages = plan.recipe.rounds, dict[str, Any]()
    for name, runs in plan.stages.items():
        for key, run in runs.items():
            found, times = commands.estimate(run), rounds if key == "search" else rounds + 1
            stages[f"{name}, {key}"] = {
                "tasks": found.tasks,
                "times": 2 if key.startswith("finals") else times,
                "calls": found.calls,
                "rough_tokens": found.rough_tokens,
            }
    return {"rounds": rounds, "stages": stages}


# -- doing it --------------------------------------------------------------------------


class Loop:
    """A loop at work in its folder.

    Args:
        plan: what is to be done.
        tell: told of each stage as it begins.
    """

    def __init__(self, plan: Plan, tell: Callable[[str], None] = lambda stage: None) -> None:
        self.recipe = plan.recipe
        self.folder = plan.folder
        self.sizes = plan.sizes
        self.tell = tell

    def run(self) -> dict[str, Any]:
        """Do all that is not done yet; returns what `loop.json` says.

        Raises:
            ConfigError: another process is at work in the folder.
            StageFailed: a stage ended badly; those before it are kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock(self.folder):
            record = {k: v for k, v in asdict(self.recipe).items() if k != "run"}
            self.write("loop.yaml", {**record, "serve": list(self.recipe.serve)})
            last = self.rounds()
            best = self.best(last)
            self.finals(best)
            found = self.found(last, best)
            write_whole(self.folder / "loop.json", json.dumps(found, indent=2) + "\n")
            self.tell("report")
            self.child("report", [sys.executable, "-m", REPORT, str(self.folder)])
            return found

    def rounds(self) -> int:
        """Round after round; the number of the last."""
        number = 0
        while True:
            with Serving(self, number) as model:
                self.evaluate(number, model)
                if number == self.recipe.rounds or self.stalled(number):
                    return number
                number += 1
                for name in self.recipe.envs:
                    self.search(name, number, model)
            for name in self.recipe.envs:
                self.collect(name, number)
            self.train(number)

    def policy(self, number: int) -> str:
        """The model that a round ends with; that of round 0 is the first."""
        if not number:
            return self.recipe.policy
        trained = self.trained(number)
        return str(trained / "merged" if (trained / "merged").is_dir() else trained)

    def trained(self, number: int) -> Path:
        """Folder of a round's training."""
        return self.folder / "policies" / f"policy-{number:04d}"

    def searched(self, name: str, number: int) -> Path:
        """Run folder of a round's search."""
        return self.folder / "searches" / f"{name}-{number}"

    def search(self, name: str, number: int, model: Serving) -> None:
        """Search the round's train tasks of an environment."""
        path = self.searched(name, number)
        run = path.name
        if (path / "config.yaml").is_file():
            summary = Run(path).summary
            if summary is None or summary["tasks"] < summary["planned"]:
                self.stage(f"search {run}", "search", "--resume", path)
            return
        if path.is_dir():  # killed before it could say what it was: nothing had been asked
            shutil.rmtree(path)
        env = self.recipe.envs[name]
        fields = recipes_of(env, model.component, self.recipe.seed)["search"]
        choice = tasks_of_round(fields.get("tasks", {}), number, self.sizes[name])
        recipe = self.write(f"searches/{run}.yaml", {**fields, "tasks": choice, "run": run})
        self.stage(f"search {run}", "search", recipe, "--runs", path.parent)

    def data(self, name: str, number: int) -> Path:
        """Folder of what a round learns from an environment."""
        return self.folder / "data" / f"{name}-{number}"

    def collect(self, name: str, number: int) -> None:
        """Turn the round's trees of an environment into training data."""
        to = self.data(name, number)
        if not to.is_dir():
            run, options = self.searched(name, number), self.recipe.collect_options(name)
            self.stage(f"collect {to.name}", "collect", run, "--to", to, *options)

    def train(self, number: int) -> None:
        """Train the round's policy."""
        to = self.trained(number)
        if (to / "train.json").is_file():
            return
        first = 1 if self.recipe.data == "all" else number
        fields = {
            **self.recipe.train,
            "model": self.policy(0 if self.recipe.train_from == "first" else number - 1),
            "data": [
                str(self.data(name, n))
                for n in range(first, number + 1)
                for name in self.recipe.envs
            ],
            "to": str(to),
            "seed": self.recipe.seed,
        }
        recipe = self.write(f"policies/{to.name}.yaml", fields)
        self.stage(f"train {to.name}", "train", str(fields["trainer"]), recipe)

    def evaluate(self, number: int, model: Serving) -> None:
        """The policy of a round on held-out tasks, alone and with search."""
        for name, env in self.recipe.envs.items():
            rows = {ALONE: dict(GREEDY)}
            if env.with_search is not None:
                rows[WITH_SEARCH] = env.with_search
            self.suite("evals", f"{name}-{number}", {**env.base, **env.evaluate}, rows, model)

    def finals(self, best: int) -> None:
        """The first and the best policy, alone, on the tasks that no decision looked at."""
        for number in sorted({0, best}):
            with Serving(self, number) as model:
                for name, env in self.recipe.envs.items():
                    for final, tasks in env.finals.items():
                        fields = {**env.base, **env.evaluate, "tasks": tasks}
                        rows = {ALONE: dict(GREEDY)}
                        self.suite("finals", f"{name}-{final}-{number}", fields, rows, model)

    def suite(self, kind: str, run: str, fields: Fragment, rows: Fragment, model: Serving) -> None:
        """Evaluate the rows, unless that is done."""
        runs = self.folder / kind
        if (runs / run / "table.json").is_file():
            return
        base = with_model({k: v for k, v in fields.items() if k != "budget"}, model.component)
        rows = {k: with_model(v, model.component) if "policy" in v else v for k, v in rows.items()}
        suite = {
            "name": run,
            "base": {**base, "seed": self.recipe.seed},
            "budgets": {BUDGET: fields.get("budget", asdict(config.Recipe().budget))},
            "rows": rows,
            "baseline": ALONE,
        }
        self.stage(
            f"evaluate {run}", "eval", self.write(f"{kind}/{run}.yaml", suite), "--runs", runs
        )

    def stage(self, name: str, *arguments: str | Path) -> None:
        """One command of ours."""
        self.tell(name)
        self.child(name, [sys.executable, "-m", "agentsearch", *map(str, arguments)])

    def child(self, name: str, command: Sequence[str]) -> None:
        """Run a command that does not outlive this process; what it says goes to stderr."""
        process = warden.start(command, GRACE_S, stdout=2)
        try:
            code = process.wait()
        finally:
            assert process.stdin is not None
            process.stdin.close()  # lets it go, if it is still there
            process.wait()
        if code:
            raise StageFailed(
                f"{name}: ended with exit code {code}; why stands above. What was done is kept; "
                f"go on with: agentsearch loop --resume {self.folder}"
            )

    def write(self, name: str, content: Fragment) -> Path:
        """A YAML file of the folder."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        return path

    # -- what came of it ---------------------------------------------------------------

    def stalled(self, number: int) -> bool:
        """Whether the last rounds have gained too little to go on."""
        rates = [self.success(each) for each in range(number + 1)]
        return is_stalled(rates, self.recipe.stop)

    def best(self, last: int) -> int:
        """The round whose policy alone did best, the first of equals."""
        return max(range(last + 1), key=self.success)

    def success(self, number: int) -> float:
        """Success of a round's policy alone, as the mean over the environments."""
        rates = [
            rows_of(self.folder / "evals" / f"{name}-{number}")[ALONE]["success"]["estimate"]
            for name in self.recipe.envs
        ]
        return sum(rates) / len(rates)

    def found(self, last: int, best: int) -> dict[str, Any]:
        """What the loop did and gave, for `loop.json`."""
        ended = "all rounds" if last == self.recipe.rounds else "no gain"
        return {
            "run": self.folder.name,
            "best": best,
            "ended": ended,
            "policy": self.policy(best),
            "rounds": [self.round(number) for number in range(last + 1)],
        }

    def round(self, number: int) -> dict[str, Any]:
        """What one round did and gave."""
        evals = {
            name: rows_of(self.folder / "evals" / f"{name}-{number}") for name in self.recipe.envs
        }
        found: dict[str, Any] = {
            "round": number,
            "policy": self.policy(number),
            "success": {
                name: {row: each["success"] for row, each in rows.items()}
                for name, rows in evals.items()
            },
        }
        if number:
            found["search"] = {
                name: Run(self.searched(name, number)).summary for name in self.recipe.envs
            }
            found["data"] = {
                name: read_json(self.data(name, number) / "card.json") for name in self.recipe.envs
            }
            found["train"] = read_json(self.trained(number) / "train.json")
        return found


class Serving:
    """A round's policy for the stages that ask it, served from the first that does on."""

    def __init__(self, loop: Loop, number: int) -> None:
        self.loop = loop
        self.number = number
        self._stack = ExitStack()
        self._component: config.Component | None = None

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def component(self) -> config.Component:
        """The engine to put into recipes."""
        if self._component is None:
            self._component = self._serve()
        return self._component

    def _serve(self) -> config.Component:
        loop, model = self.loop, self.loop.policy(self.number)
        if loop.recipe.engine == "hf":
            return hf(model)
        name = f"policy@{self.number:04d}"  # never two models under one name
        loop.tell(f"serve {name}")
        server = served(
            model, name=name, logs=loop.folder, port=loop.recipe.port, flags=loop.recipe.serve
        )
        return {"name": "openai", "model": name, "base_url": self._stack.enter_context(server)}


def is_stalled(rates: Sequence[float], stop: Stop) -> bool:
    """Whether the last `patience` rates all failed to beat the best before them by the gain.

    A rate gains where it lies more than `gain` above the highest that gained before it.
    """
    best, without = rates[0], 0
    for rate in rates[1:]:
        if rate > best + stop.gain:
            best, without = rate, 0
        else:
            without += 1
    return without >= stop.patience


def rows_of(folder: Path) -> dict[str, Any]:
    """The rows of a suite's only table, by name."""
    return {row["row"]: row for row in read_json(folder / "table.json")["rows"]}


def read_json(path: Path) -> Any:
    """A file that a stage wrote.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(
            f"{path}: cannot be read ({cause}); remove {path.parent} and resume the loop."
        ) from cause
