"""Reads Template YAML files as the Tinkerbell server does. Knows nothing of states.

Templates are taken as rendered: Go template syntax in them is an error.
"""

import dataclasses
import re

import yaml


class TemplateError(Exception):
    """The template is not usable; the text names the place."""


@dataclasses.dataclass
class ActionSpec:
    name: str
    image: str
    timeout_s: int = 0
    command: list = dataclasses.field(default_factory=list)
    volumes: list = dataclasses.field(default_factory=list)
    environment: dict = dataclasses.field(default_factory=dict)
    pid: str = ""
    network_namespace: str = ""
    pid_namespace: str = ""
    has_namespaces: bool = False
    on_timeout: list = dataclasses.field(default_factory=list)
    on_failure: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class TaskSpec:
    name: str
    agent: str
    actions: list
    volumes: list = dataclasses.field(default_factory=list)
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Template:
    name: str
    tasks: list
    global_timeout_s: int = 0


class _TextLoader(yaml.SafeLoader):
    """Every scalar stays the text that was written (0644, true, 1.10); a plain null is empty."""


_TextLoader.yaml_implicit_resolvers = {}
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_TextLoader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: "")
for _tag in ("int", "float", "bool", "timestamp"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: node.value)


def substitute(text, values):
    """Replaces each key that stands as a word, or as a word with a partition number behind it.

    DISK2 becomes the second partition of DISK's value as the kernel or udev spells it. All keys at
    once: a value that contains a key is not touched again.
    """
    if not values:
        return text
    keys = "|".join(re.escape(key) for key in sorted(values, key=len, reverse=True))

    def value(match):
        word, number = values[match[1]], match[2]
        if not number:
            return word
        if word.startswith("/dev/disk/by-"):
            return f"{word}-part{number}"
        return f"{word}p{number}" if word[-1:].isdigit() else f"{word}{number}"

    return re.sub(rf"(?<![A-Za-z0-9_.-])({keys})(\d*)(?![A-Za-z0-9_-])", value, text)


def load(path, agent=None, values=None):
    """Reads a template file. agent replaces every `worker`, values see `substitute`."""
    with open(path, encoding="utf-8") as file:
        return parse(file.read(), agent=agent, values=values, where=str(path))


def parse(text, agent=None, values=None, where="template"):
    """The same from text."""
    # Comments first: a word to be replaced may stand in one.
    text = substitute(text, values or {})
    try:
        data = yaml.load(text, Loader=_TextLoader)
    except yaml.YAMLError as error:
        raise TemplateError(f"{where}: {error}") from None
    return from_data(data, agent=agent, where=where)


def from_data(data, agent=None, where="template"):
    """The same from a dict with the template's keys; values that are no text become text."""
    if not isinstance(data, dict):
        raise TemplateError(f"{where}: not a mapping")
    name = _name(data.get("name"), where)
    tasks = []
    for task_data in _list(data.get("tasks"), f"{where}: tasks", of=dict):
        task_name = _name(task_data.get("name"), f"{where}: a task")
        place = f"{where}: task {task_name}"
        if task_name in [task.name for task in tasks]:
            raise TemplateError(f"{place}: there are two of this name")
        worker = agent or _text(task_data.get("worker"))
        if not worker:
            raise TemplateError(f"{place}: no worker")
        if "{{" in worker:
            raise TemplateError(f"{place}: worker {worker} is Go template syntax, render it first")
        task = TaskSpec(
            name=task_name,
            agent=worker,
            actions=[],
            volumes=_list(task_data.get("volumes"), f"{place}: volumes"),
            environment=_map(task_data.get("environment"), f"{place}: environment"),
        )
        for action_data in _list(task_data.get("actions"), f"{place}: actions", of=dict):
            action = _action(action_data, place)
            if action.name in [other.name for other in task.actions]:
                raise TemplateError(f"{place}: two actions are named {action.name}")
            task.actions.append(action)
        tasks.append(task)
    if not tasks:
        raise TemplateError(f"{where}: no tasks")
    return Template(name=name, tasks=tasks, global_timeout_s=_number(data.get("global_timeout"), f"{where}: global_timeout"))


def _action(data, place):
    name = _name(data.get("name"), f"{place}: an action")
    place = f"{place}: action {name}"
    if not data.get("image"):
        raise TemplateError(f"{place}: no image")
    namespaces = data.get("namespaces") or {}
    return ActionSpec(
        name=name,
        image=_text(data["image"]),
        timeout_s=_number(data.get("timeout"), f"{place}: timeout"),
        command=_list(data.get("command"), f"{place}: command"),
        volumes=_list(data.get("volumes"), f"{place}: volumes"),
        environment=_map(data.get("environment"), f"{place}: environment"),
        pid=_text(data.get("pid")),
        network_namespace=_text(namespaces.get("network")),
        pid_namespace=_text(namespaces.get("pid")),
        has_namespaces=bool(namespaces),
        on_timeout=_list(data.get("on-timeout"), f"{place}: on-timeout"),
        on_failure=_list(data.get("on-failure"), f"{place}: on-failure"),
    )


def _name(value, place):
    text = _text(value)
    if not 0 < len(text) < 200:
        raise TemplateError(f"{place}: the name must have 1 to 199 characters")
    return text


def _text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(value, place):
    try:
        return int(_text(value) or "0")
    except ValueError:
        raise TemplateError(f"{place}: {value!r} is not a number") from None


def _list(value, place, of=None):
    if value in (None, ""):
        return []
    if not isinstance(value, list) or (of and not all(isinstance(item, of) for item in value)):
        raise TemplateError(f"{place}: not a list" + (f" of {'mappings' if of is dict else of}" if of else ""))
    return value if of else [_text(item) for item in value]


def _map(value, place):
    if value in (None, ""):
        return {}
    if not isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value.values()):
        raise TemplateError(f"{place}: not a mapping of texts")
    return {_text(key): _text(item) for key, item in value.items()}
