"""The steps of `build`, `push` and `pull`: Prefect's own, judged without Prefect. Pure.

A step of `pull` runs with every flow run and not when deploying: only runs that crash show a slip there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hookline.nearest import nearest

PREFIX = "prefect.deployments.steps."

#: The inputs that Prefect's own steps take, those first that are required. None is for any.
OWN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "git_clone": (
        ("repository",),
        (
            "branch",
            "commit_sha",
            "include_submodules",
            "access_token",
            "credentials",
            "directories",
            "clone_directory_name",
        ),
    ),
    "pip_install_requirements": ((), ("directory", "requirements_file", "stream_output")),
    "pull_from_remote_storage": (("url",), None),
    "pull_with_block": (("block_document_name", "block_type_slug"), ()),
    "run_shell_script": (
        ("script",),
        ("directory", "env", "stream_output", "expand_env_vars", "shell"),
    ),
    "set_working_directory": (("directory",), ()),
}
#: What any step may have besides its inputs.
RESERVED = ("id", "requires")


def step_faults(step: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with a step: the path to the key, empty for the whole, and the reason."""
    # Prefect passes over an empty one.
    if not step:
        return
    if len(step) > 1:
        yield (), f"a step is one function with its inputs, and this has {', '.join(map(str, step))}"
        return
    [(name, inputs)] = step.items()
    if not isinstance(inputs, Mapping):
        yield (name,), f"write the inputs of `{name}` as a mapping; `{{}}` is none"
        return
    module, _, function = str(name).rpartition(".")
    if f"{module}." != PREFIX:
        # What stands elsewhere is looked for when it is run: it may be installed by then.
        if not module or (nearest(module, [PREFIX[:-1]]) and function in OWN and module.count(".") == 2):
            meant = nearest(function, OWN) if function not in OWN else function
            yield (
                (name,),
                f"there is no step `{name}`; write {PREFIX + meant if meant else 'package.function'}",
            )
    elif function not in OWN:
        yield (name,), f"Prefect has no step `{function}`; " + _hint(function, OWN)
    else:
        required, further = OWN[function]
        known = (*required, *(further or ()), *RESERVED)
        for key in inputs if further is not None else ():
            if key not in known:
                yield (name, key), f"`{key}` is no input of `{function}`; {_hint(str(key), known)}"
        for key in required:
            if key not in inputs:
                yield (name,), f"`{function}` needs `{key}`"


def _hint(name: str, known: Collection[str]) -> str:
    meant = nearest(name, known)
    return f"did you mean `{meant}`?" if meant else f"there are {', '.join(known)}"
