"""Exit codes in the help of commands."""


def exit_codes(some_failed: str | None = None) -> str:
    """Return the end of a help text: the exit codes of a command. `some_failed` describes code 4, if it has that."""
    meanings = {
        0: "Done.",
        1: "An unexpected error; --debug shows where.",
        2: "Wrong usage, or an input that cannot be used.",
        3: "A package, model, weight file or device is not on this computer.",
        4: some_failed,
        5: "An output cannot be written, or another run writes into its folder.",
        130: "Interrupted. Finished outputs are whole.",
    }
    lines = [f"  {code:<3}  {meaning}" for code, meaning in meanings.items() if meaning]
    return "\n".join(["\b", "Exit codes:", *lines])


OF_INPUTS = exit_codes("Some inputs failed (see the report), or one failed unexpectedly.")
OF_ATTACKS = exit_codes("Some inputs failed (see the report), or the classifier has red flags.")
OF_EDITS = exit_codes("Some inputs failed, or an edit lacks something that was asked for (see the report).")
OF_ONE = exit_codes()
