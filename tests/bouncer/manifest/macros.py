"""In place of dbt-bouncer's own rules, which ask a description of each implementation behind a dispatch too."""

from pathlib import Path

from dbt_bouncer.check_framework.decorator import check, fail


@check
def check_macro_is_documented(macro):
    """A macro that others call has a file of its own, says what it and each argument is for, and shows an example.

    What stands behind a dispatch (`spark__add_days`) does the same under the same name. The arguments are those of the
    macro's definition: the flag validate_macro_args puts them into the manifest.
    """
    if "__" in macro.name:
        return
    if not macro.description:
        fail(f"the macro `{macro.name}` has no description in macros/_macros.yml")
    # A generic test is used in YAML by its short name, any other macro is called.
    use = macro.name.removeprefix("test_") if macro.name.startswith("test_") else f"caspr.{macro.name}("
    if macro.arguments and use not in macro.description:
        fail(f"the description of the macro `{macro.name}` in macros/_macros.yml shows no example with `{use}`")
    for argument in macro.arguments:
        if not argument.description:
            fail(f"the argument `{argument.name}` of the macro `{macro.name}` has no description in macros/_macros.yml")
    file = Path(macro.original_file_path).name
    if file != f"{macro.name.removeprefix('test_')}.sql":
        fail(f"the macro `{macro.name}` stands in {file}; expected a file of its name")
