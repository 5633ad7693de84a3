"""Recipes: YAML over frozen dataclasses, dotted overrides, and building what they name.

OmegaConf reads YAML and merges overrides; pydantic validates the result against the
dataclasses that the names stand for. Every mistake becomes one sentence that names the
key, before anything is loaded or written.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agentsearch import registry
from agentsearch.budget import Limits, Metered
from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.protocols import Environment
from agentsearch.runner import Setup
from agentsearch.throughput import Concurrency
from agentsearch.types import Cycles, Task

Component = dict[str, Any]
"""A name and the fields of what it names, such as `{name: mcts, width: 8}`."""

MADE_WITH = "made_with"
"""Block of a run's config.yaml: versions, commit, date. Not part of the recipe."""

COMPONENTS = {
    "env": "envs",
    "policy": "policies",
    "value": "values",
    "chooser": "choosers",
    "search": "search",
}
INJECTED = ("engine", "env")
"""Fields the builder fills with objects; a recipe gives them as components, or not at all."""


@dataclass(frozen=True)
class TaskChoice:
    """Which tasks of an environment to run.

    Attributes:
        split: train, dev or test.
        start, limit: a slice of the split; `limit` None takes all the rest.
        ids: exactly these task ids, in this order.
    """

    split: str = "test"
    start: int = 0
    limit: int | None = None
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ConfigError(f"tasks.start={self.start}: must be 0 or more.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(
                f"tasks.limit={self.limit}: leaves no task to run; use 1 or more, or null for all."
            )


@dataclass(frozen=True)
class Recipe:
    """One run: everything that decides its results.

    Attributes:
        env, policy, value, search: components, a name and its fields.
        chooser: the component that ranks actions, for searches that ask one.
        budget: limits of one search: of a task in `plan` mode, a decision in `act` mode.
        tasks: which tasks.
        mode: `plan` grows one tree and carries out the chosen path; `act` searches
            before each decision. None takes the environment's own, `EnvSpec.mode`.
        commit: actions carried out per decision in `act` mode.
        reward_visible: whether search sees the environment's reward.
        prefer_finished: whether a finished episode is chosen before any unfinished one;
            None does so in `plan` mode only.
        cycles: whether proposals that lead back are dropped: `keep`, `prune` those to a state
            of the search's own path, or `never_return` to a state of the episode either.
        readings: smaller budgets whose results are read off the same search, in `plan` mode.
        seed: of every random draw.
        concurrency: tasks searched at the same time; `auto` follows the load of vLLM servers.
        run: name of the run folder; None makes one from names and time.
    """

    env: Component = field(default_factory=lambda: {"name": "game24"})
    policy: Component = field(default_factory=lambda: {"name": "prompted"})
    value: Component = field(default_factory=lambda: {"name": "votes"})
    search: Component = field(default_factory=lambda: {"name": "mcts"})
    budget: Limits = Limits(calls=100)
    tasks: TaskChoice = TaskChoice()
    mode: Literal["plan", "act"] | None = None
    commit: int = 1
    reward_visible: bool = False
    prefer_finished: bool | None = None
    cycles: Cycles = "keep"
    readings: tuple[Limits, ...] = ()
    seed: int = 0
    concurrency: Concurrency = 16
    run: str | None = None
    chooser: Component | None = None

    def __post_init__(self) -> None:
        if self.concurrency != "auto" and self.concurrency < 1:
            raise ConfigError(f"concurrency={self.concurrency}: must be at least 1, or auto.")

    @property
    def components(self) -> dict[str, Component]:
        """The components by their key; a chooser only where one is given."""
        given = {key: getattr(self, key) for key in COMPONENTS}
        return {key: component for key, component in given.items() if component is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to `config.yaml`."""
        plain = dataclasses.asdict(self)
        plain["tasks"]["ids"] = list(self.tasks.ids)
        plain["readings"] = list(plain["readings"])
        return plain


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, short name or mapping, apply overrides, validate.

    Args:
        source: a path, a short name from `agentsearch list` such as `game24/mcts`, or a
            mapping of the same shape.
        overrides: `key=value` with dotted keys, such as `search.c_puct=2.0`; `search=beam`
            exchanges a whole component.

    Raises:
        ConfigError: no such recipe, or a key or value that is wrong.
    """
    data = dict(source) if isinstance(source, Mapping) else read_yaml(recipe_path(source))
    data.pop(MADE_WITH, None)
    data = merge(data, overrides)
    for key in COMPONENTS:
        if data.get(key) is not None:
            data[key] = as_component(key, data[key])
    recipe = validated(Recipe, data, "")
    for key, component in recipe.components.items():
        check_component(COMPONENTS[key], key, component)
    return recipe


def merge(
    data: Mapping[str, Any], overrides: Sequence[str], whole: Collection[str] = COMPONENTS
) -> dict[str, Any]:
    """`data` with dotted overrides applied, the last one winning.

    What is named in `whole` is exchanged as a whole when it is set without a dot.
    """
    merged: Any = OmegaConf.create(dict(data))
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{override!r}: not an override; write key=value, such as seed=1.")
        try:
            change = OmegaConf.from_dotlist([override])
            if key in whole:
                merged[key] = change[key]
            else:
                spell_out(merged, key)
                merged = OmegaConf.merge(merged, change)
            OmegaConf.to_container(merged, resolve=True)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"{override!r}: cannot be applied ({why}).") from error
    return typing.cast(dict[str, Any], OmegaConf.to_container(merged, resolve=True))


def spell_out(data: Any, key: str) -> None:
    """Turn the bare names above `key` into components, so that a field of them can be set."""
    top, *below = key.split(".")
    if top not in COMPONENTS or not below:
        return
    if isinstance(data.get(top), str):
        data[top] = as_component(top, data[top])
    part = data.get(top)
    if below[0] == "engine" and len(below) > 1 and part and isinstance(part.get("engine"), str):
        part["engine"] = engine_component(part["engine"])


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file.

    Raises:
        ConfigError: no such file, or no mapping.
    """
    try:
        data = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({where}).") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no mapping; a recipe has keys such as env and search.")
    return typing.cast(dict[str, Any], data)


def data_folder(package: str, name: str) -> Path:
    """A folder of shipped files: inside the wheel, or in the checkout beside the package.

    `recipes` lies in the wheel as `agentsearch/_recipes`, `suites` as
    `agentsearch_eval/_suites`.
    """
    root = Path(str(resources.files(package)))
    packed = root / f"_{name}"
    return packed if packed.is_dir() else root.parent / name


def recipe_names() -> list[str]:
    """Short names of the shipped recipes that `search` runs."""
    folder = data_folder("agentsearch", "recipes")
    paths = (path.relative_to(folder) for path in sorted(folder.glob("*/*.yaml")))
    loops = {path.parent.name for path in loop_paths().values()}  # with trainings beside them
    others = {"tiny", "profiles", "accelerate", *loops}
    return [str(path.with_suffix("")) for path in paths if path.parts[0] not in others]


def loop_paths() -> dict[str, Path]:
    """The shipped loops by short name: `agent_q` is `agent_q/loop.yaml` of the recipes."""
    folder = data_folder("agentsearch", "recipes")
    found = {path.relative_to(folder): path for path in sorted(folder.glob("*/loop*.yaml"))}
    return {str(name.with_suffix("")).removesuffix("/loop"): path for name, path in found.items()}


def recipe_path(source: str | Path) -> Path:
    """The file that a path or short name stands for."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = data_folder("agentsearch", "recipes") / f"{source}.yaml"
    if shipped.is_file():
        return shipped
    known = recipe_names()
    raise ConfigError(
        f"recipe {str(source)!r}: no such file or short name.{did_you_mean(str(source), known)} "
        "See `agentsearch list`."
    )


def as_component(key: str, value: Any) -> Component:
    """A bare name as a component; `policy` takes engine shorthands too."""
    if isinstance(value, str):
        return policy_component(value) if key == "policy" else {"name": value}
    if isinstance(value, dict):
        if isinstance(value.get("engine"), str):
            return {**value, "engine": engine_component(value["engine"])}
        return typing.cast(Component, value)
    raise ConfigError(f"{key}={value!r}: expected a name, or a mapping with a name.")


ENGINE_SHORTHANDS = ("tiny", "hf", "vllm", "openai", "scripted")


def policy_component(text: str) -> Component:
    """`tiny`, `hf:PATH`, `vllm:MODEL`, `openai:MODEL@URL`, or the name of a policy."""
    head = text.partition(":")[0]
    if head in ENGINE_SHORTHANDS or head.startswith("tiny-"):
        return {"name": "prompted", "engine": engine_component(text)}
    return {"name": text}


def engine_component(text: str) -> Component:
    """`tiny`, `hf:PATH`, `vllm:MODEL` or `openai:MODEL@URL` as a component."""
    head, colon, rest = text.partition(":")
    if head == "tiny" or head.startswith("tiny-"):
        return {"name": "hf", "model": text}
    if head == "openai":
        model, _, url = rest.partition("@")
        if "@http" in rest:  # before which the name of an adapter has an @ of its own
            model, at, url = rest.partition("@http")
            url = at[1:] + url
        if not model:
            raise ConfigError(f"{text!r}: names no model; write openai:MODEL@http://HOST:PORT/v1.")
        return {"name": head, "model": model, **({"base_url": url} if url else {})}
    return {"name": head, "model": rest} if colon else {"name": text}


def check_component(kind: str, key: str, component: Component) -> None:
    """Refuse an unknown name, field or type, without building anything."""
    build_fields(registry.load(kind, component_name(key, component)), key, component)
    if "engine" in component:
        engine = component["engine"]
        build_fields(
            registry.load("engines", component_name(f"{key}.engine", engine)),
            f"{key}.engine",
            engine,
        )


def component_name(key: str, component: Any) -> str:
    """The `name` of a component."""
    if not isinstance(component, dict) or not isinstance(component.get("name"), str):
        raise ConfigError(f"{key}: has no name; write {key}=NAME or {key}.name=NAME.")
    return typing.cast(str, component["name"])


def build_fields(cls: Any, key: str, component: Component) -> dict[str, Any]:
    """The validated fields of a component, less those the builder injects."""
    injected = {"name"} | ({"engine"} & field_names(cls))
    given = {k: v for k, v in component.items() if k not in injected}
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return given
    return validated_fields(cls.__name__, field_shape(cls, INJECTED), given, key)


def field_names(cls: Any) -> set[str]:
    """The fields of a dataclass; none of anything else."""
    return (
        {each.name for each in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    )


def validated(cls: type[Any], data: Mapping[str, Any], prefix: str) -> Any:
    """`cls(**data)` after validation of every field."""
    return cls(**validated_fields(cls.__name__, field_shape(cls), data, prefix))


def field_shape(cls: type[Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Type and default of each field a dataclass is made from, as pydantic takes them."""
    hints = typing.get_type_hints(cls)
    shape: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        if each.name in without or not each.init:
            continue
        default: Any = ... if each.default is dataclasses.MISSING else each.default
        if each.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=each.default_factory)
        shape[each.name] = (hints[each.name], default)
    return shape


def validated_fields(
    name: str, shape: dict[str, Any], given: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    """Check `given` against fields and types.

    Raises:
        ConfigError: the first thing that is wrong, as one sentence.
    """
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    model = pydantic.create_model(name, __config__=config, **shape)
    try:
        checked = model.model_validate(dict(given))
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, shape, prefix)) from None
    return {key: getattr(checked, key) for key in shape}


def explain(error: pydantic.ValidationError, shape: Mapping[str, Any], prefix: str) -> str:
    """The first validation error as a sentence that names the key."""
    first, *others = error.errors()
    path = [str(part) for part in first["loc"]]
    words = [each for each in others if each["loc"] == (*first["loc"][:-1], "literal['auto']")]
    if words:  # a number or a word: the last part only says which of them was tried
        path.pop()
    key = ".".join([*([prefix] if prefix else []), *path])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_beside(path, shape)
        listed = f" Keys: {', '.join(known)}." if known else ""
        return f"{key}: unknown key.{did_you_mean(path[-1], known)}{listed}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{key}: is required; set {key}=..."
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return str(cause)
    message = first["msg"][0].lower() + first["msg"][1:] + ", or auto" * bool(words)
    return f"{key}={first['input']!r}: {message}."


def _keys_beside(path: Sequence[str], shape: Mapping[str, Any]) -> list[str]:
    """The keys that are known where `path` ends."""
    if len(path) == 1:
        return list(shape)
    nested = shape[path[0]][0] if path[0] in shape else None
    return [f.name for f in dataclasses.fields(nested)] if dataclasses.is_dataclass(nested) else []


class Builder:
    """Turns recipes into objects; equal engine components share one engine."""

    def __init__(self) -> None:
        self._engines: dict[str, Metered] = {}
        self._envs: list[Environment[Any]] = []

    def setup(self, recipe: Recipe) -> Setup:
        """Everything one run needs.

        Raises:
            ConfigError: parts that do not fit together.
        """
        env = self.build("envs", "env", recipe.env, {})
        self._envs.append(env)
        policy_engine = recipe.policy.get("engine", {"name": "hf", "model": "tiny"})
        value_engine = recipe.value.get("engine", policy_engine)
        policy = self.build("policies", "policy", recipe.policy, {"env": env}, policy_engine)
        value = self.build("values", "value", recipe.value, {"env": env}, value_engine)
        chooser = None
        if recipe.chooser is not None:
            engine = recipe.chooser.get("engine", policy_engine)
            chooser = self.build("choosers", "chooser", recipe.chooser, {"env": env}, engine)
        search = self.build("search", "search", recipe.search, {})
        return Setup(
            env=env,
            policy=policy,
            value=value,
            search=search,
            limits=recipe.budget,
            mode=recipe.mode or env.spec.mode,
            commit=recipe.commit,
            reward_visible=recipe.reward_visible,
            seed=recipe.seed,
            prefer_finished=recipe.prefer_finished,
            cycles=recipe.cycles,
            readings=recipe.readings,
            chooser=chooser,
        )

    def build(
        self,
        kind: str,
        key: str,
        component: Component,
        parts: Mapping[str, Any],
        engine: Component | None = None,
    ) -> Any:
        """One object from its component; `parts` and the engine go to fields of that name."""
        cls = registry.load(kind, component_name(key, component))
        fields = build_fields(cls, key, component)
        wanted = field_names(cls)
        fields |= {name: part for name, part in parts.items() if name in wanted}
        if engine is not None and "engine" in wanted:
            fields["engine"] = self.engine(engine, f"{key}.engine")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"{key}: {component['name']} cannot be made ({error}).") from error

    def engine(self, component: Component, key: str) -> Metered:
        """The engine of a component, made once."""
        mark = repr(sorted(component.items()))
        if mark not in self._engines:
            self._engines[mark] = Metered(self.build("engines", key, component, {}))
        return self._engines[mark]

    @property
    def engines(self) -> list[Metered]:
        """The engines made so far."""
        return list(self._engines.values())

    @property
    def models(self) -> list[str]:
        """Name and version of each engine's model, where it knows them."""
        return [engine.version for engine in self.engines if engine.version]

    async def close(self) -> None:
        """Close every engine and environment."""
        for engine in self._engines.values():
            await engine.close()
        for env in self._envs:
            await close_environment(env)


async def close_environment(env: Environment[Any]) -> None:
    """Give back what an environment holds, where it has something to close."""
    close = getattr(env, "close", None)
    if close is not None:
        await close()


async def settle(recipe: Recipe, setup: Setup) -> tuple[Recipe, Setup]:
    """Let the parts decide what was left open, and write down what they decided.

    Raises:
        ConfigError: a part cannot work with its engine.
    """
    after = await setup.settled()
    decided: dict[str, Any] = {}
    for key, new in after.parts.items():
        old = setup.parts[key]
        names = field_names(new) - set(INJECTED)
        changed = {n: getattr(new, n) for n in names if getattr(new, n) != getattr(old, n)}
        decided[key] = {**getattr(recipe, key), **changed}
    return dataclasses.replace(recipe, mode=after.mode, **decided), after


def find_tasks(tasks: Iterable[Task], choice: TaskChoice) -> list[Task]:
    """The tasks of the chosen ids; no more are made than it takes to find them."""
    found: dict[str, Task] = {}
    seen: list[str] = []
    for task in tasks:
        seen.append(task.id)
        if task.id in choice.ids:
            found[task.id] = task
            if len(found) == len(set(choice.ids)):
                break
    for each in choice.ids:
        if each not in found:
            close = did_you_mean(each, seen)
            raise ConfigError(f"tasks.ids: {each!r} is not in split {choice.split!r}.{close}")
    return [found[each] for each in choice.ids]


def choose_tasks(setup: Setup, choice: TaskChoice) -> list[Task]:
    """The tasks a recipe names.

    Raises:
        ConfigError: none, or an id that is not in the split.
    """
    tasks = setup.env.tasks(choice.split)
    if choice.ids:
        return find_tasks(tasks, choice)
    stop = None if choice.limit is None else choice.start + choice.limit
    chosen = list(tasks[choice.start : stop])
    if not chosen:
        raise ConfigError(
            f"tasks: nothing to run; split {choice.split!r} has {len(tasks)} tasks and "
            f"start={choice.start}, limit={choice.limit} leaves none."
        )
    return chosen
