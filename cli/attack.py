"""`fastdiff attack`."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.presets import GRADIENTS, LOSSES, PERTURBED, PRESETS
from fastdiff.cli.exit_codes import OF_ATTACKS
from fastdiff.cli.formatting import counted, places
from fastdiff.cli.options import PATH, Command, files, option, running

if TYPE_CHECKING:
    from fastdiff.apps.attack.report import Report
    from fastdiff.apps.attack.robustness_curve import CurveReport

CHANGED = "[default: the method's]"


class Bounds(click.ParamType):  # type: ignore[type-arg]  # generic in later versions of click alone
    """Numbers separated by commas."""

    name = "bounds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: give numbers such as 2,4,8,16", param, ctx)


@click.command(cls=Command, epilog=OF_ATTACKS)
@click.argument("inputs", nargs=-1, required=True)
@files
@option(
    "--export-training-pairs",
    type=PATH,
    metavar="DIR",
    help="Write successful pictures with their clean ones.",
    group="Output",
)
@option(
    "--classifier",
    default="efficientnet-lite0",
    metavar="SPEC",
    help="Classifier to attack: efficientnet-lite0, -lite1 or -lite2; timm:NAME, hf:NAME or a folder in place of NAME; "
    "torchvision:NAME[@VERSION]; module:MODULE:NAME for your own code. [default: efficientnet-lite0]",
    group="Classifier",
)
@option("--classes", type=PATH, help="Text file with the names of its classes, one per line.", group="Classifier")
@option(
    "--transfer",
    multiple=True,
    metavar="SPEC",
    help="Another classifier to test the results on; classes are matched by name. May be repeated.",
    group="Classifier",
)
@option(
    "--surrogate",
    "surrogates",
    multiple=True,
    metavar="SPEC",
    help="Another classifier with the same classes, attacked together with --classifier: their logits are averaged, so "
    "that results transfer. May be repeated.",
    group="Classifier",
)
@option(
    "--eot",
    type=click.IntRange(1),
    metavar="N",
    help="Draws of a random classifier over which gradients and verdicts are averaged. [default: 1]",
    group="Classifier",
)
@option(
    "--target",
    metavar="CLASS|csv",
    help="Target class by name or index (name:X and index:X say which), or csv for the column of --labels. "
    "[default: any other class]",
    group="Goal",
)
@option(
    "--labels",
    type=PATH,
    help="CSV table with the columns image, true_label and, optionally, target_label; or a folder with a folder of "
    "pictures for every class, as ImageFolder reads.",
    group="Goal",
)
@option(
    "--method",
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="natural",
    help="natural is fast and changes as little as needed. sca-official, sca-strong and diffattack run all iterations, "
    "as published. transfer changes textures, to fool other classifiers too. semantic changes light and warmth, which "
    "looks like another light and fools others too. pgd and mifgsm return the pixels of torchattacks. These four use "
    "no prior. [default: natural]",
    group="Method",
)
@option(
    "--model",
    default="photos",
    help="Diffusion prior: a name of `fastdiff models`, a hub id or a folder. [default: photos]",
    group="Method",
)
@option(
    "--perturb",
    type=click.Choice(PERTURBED),
    help="Perturbed values: a latent or the noise maps, the pixels, the pixels by their texture, or tone curves. "
    f"{CHANGED}",
    group="Method",
)
@option("--gradient", type=click.Choice(GRADIENTS), help=f"Gradient estimator. {CHANGED}", group="Method")
@option("--loss", type=click.Choice(LOSSES), help=f"Loss: cross-entropy or logit margin. {CHANGED}", group="Method")
@option("--steps", type=click.IntRange(1, 1000), help=f"Steps of inversion and sampling. {CHANGED}", group="Method")
@option(
    "--strength",
    type=float,
    help=f"Share of the noise schedule that the inversion covers, 0.01 to 1. {CHANGED}",
    group="Method",
)
@option("--guidance", type=float, help=f"Guidance scale of captions. {CHANGED}", group="Method")
@option("--iterations", type=click.IntRange(0), help=f"Largest number of iterations. {CHANGED}", group="Method")
@option("--step", type=float, help=f"Step size of an iteration. {CHANGED}", group="Method")
@option("--epsilon", type=float, help=f"Largest change of a perturbed value. {CHANGED}", group="Method")
@option(
    "--epsilons",
    type=Bounds(),
    default=(),
    help="Bounds in 1/255, such as 2,4,8,16, for a curve of robust accuracy by pgd or mifgsm, with a folder for each "
    "in --out.",
    group="Method",
)
@option(
    "--early-stop/--no-early-stop",
    default=None,
    help=f"Stop a picture once it fools by --confidence, and keep the smallest change. {CHANGED}",
    group="Method",
)
@option("--confidence", type=float, help=f"Logit margin that is enough for --early-stop. {CHANGED}", group="Method")
@option("--momentum", type=float, help=f"Momentum of the gradient, 0 to 1. {CHANGED}", group="Method")
@option("--caption", help="Caption of all pictures, for text-conditioned priors.", group="Captions")
@option("--caption-file", type=PATH, help="JSON object from file names to captions.", group="Captions")
@option("--captioner", metavar="NAME", help="Captioning model: a hub id or a folder.", group="Captions")
@option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    help="Number of pictures of one size attacked together. [default: 1]",
    group="Run",
)
@running
def command(as_json: bool, dry_run: bool, debug: bool, **chosen: Any) -> int:
    """Attack a classifier with natural-looking changes, and report how it breaks.

    A diffusion prior inverts each picture. The attack perturbs its latents and returns a picture of the same size,
    changed as little as possible. Success is judged on each written PNG by itself; failures go to failed/. Attack only
    models that you own or may test.

    The classifier is examined first. Red flags (gradients that are zero, not finite or misleading, random logits) stand
    beside every rate, and the exit code is 4. Without any usable gradient the run is refused.

    \b
    Examples:
      fastdiff attack photos/                                      the bundled classifier, any other class
      fastdiff attack photos/ --labels labels.csv --target csv     targets from a table
      fastdiff attack val/ --recursive --labels val                labels from the folders of the pictures
      fastdiff attack cat.jpg --target "fire engine" --classifier timm:resnet18.a1_in1k
      fastdiff attack photos/ --transfer torchvision:resnet50      also tests the results on another classifier
      fastdiff attack photos/ --method transfer --surrogate efficientnet-lite1 --transfer efficientnet-lite2
      fastdiff attack photos/ --method pgd --epsilons 2,4,8,16 -o curve/     robust accuracy by bound
      fastdiff attack photos/ --classifier module:my_net:build --classes names.txt
    """
    from fastdiff.apps.running.inputs import summary
    from fastdiff.cli.progress import LOADING, run_command, status

    with status(LOADING):
        from fastdiff.apps.attack import app, robustness_curve

    options = Options(**chosen)
    if dry_run:
        forecasts = [app.forecast(each) for _, each in robustness_curve.options_by_bound(options)]
        tasks = [task for each in forecasts for task in each.tasks]
        for item, label in tasks:
            goal = "any other class" if label.target is None else f"class {label.target}"
            click.echo(f"{item.source} -> {item.output}: {goal}")
        click.echo(f"{counted(len(tasks), 'picture')} to attack; calls to other computers: none")
        if left_out := summary(forecasts[0].left_out):
            click.echo(left_out)
        return 0
    if options.epsilons:
        return run_command(robustness_curve.run, options, _curve_summary, debug=debug, as_json=as_json)
    return run_command(app.run, options, _summary, debug=debug, as_json=as_json)


def _summary(report: "Report") -> str:
    """Summarise a run in a few lines."""
    counts = report.summary
    lines = [*_examination(report)]
    lines += [f"{image.input}: skipped, {image.reason}" for image in report.images if image.status == "skipped"]
    if counts["labelled"]:
        lines.append(f"{counts['labelled']} of {counted(len(report.images), 'picture')} have a label")
    if (robust := counts["robust_accuracy"]) is not None:
        lines.append(f"robust accuracy {robust['right']} of {robust['of']} ({_interval(robust)}){_flagged(robust)}")
    if counts["of_all_attacked"]["roundtrip_error"] is not None:
        lines.append(f"unperturbed, pictures come back to within {_worst(report):.0e} of their latents")
    lines += [_rate(rate, f"attacked pictures fool {name} too") for name, rate in counts["transfer"].items()]
    lines += [
        _rate(rate, f"attacked pictures still fool the classifier behind {name}")
        for name, rate in counts["defences"].items()
    ]
    for of, means in (("successes", counts), ("all attacked", counts["of_all_attacked"])):
        if means["ssim"] is not None:
            lines.append(f"mean SSIM of {of} {means['ssim']:.3f}, lowest tenth of windows {means['ssim_p10']:.3f}")
    where = places({image.output for image in report.images if image.output})
    look = f" Look at {report.page}." if report.sheet else ""
    withstood = counts["of"] - counts["succeeded"]
    others = f"{withstood} withstood, {counts['skipped']} skipped, {counted(counts['failed'], 'error')}"
    return "\n".join([*lines, f"{_rate(counts, 'succeeded')}, {others}.{where}{look} Report: {report.path}"])


def _curve_summary(report: "CurveReport") -> str:
    """Summarise the runs of a curve, one line for each bound."""
    lines = [*_examination(report.runs[0][1])]
    for bound, found in report.points:
        what = f"robust accuracy within {bound:g}/255" if bound else "clean accuracy"
        lines.append(f"{what}: {found['right']} of {found['of']} ({_interval(found)}){_flagged(found)}")
    return "\n".join([*lines, f"Look at {report.page}. Report: {report.path}"])


def _flagged(found: Mapping[str, Any]) -> str:
    return f" [RED FLAGS: {', '.join(found['flags'])}]" if found.get("flags") else ""


def _examination(report: "Report") -> Iterator[str]:
    """Yield the lines of the examination of the classifier."""
    victim = report.victim
    if victim is None:
        return
    accuracy = ""
    if (clean := victim.clean_accuracy) is not None:
        accuracy = f"right about {clean['right']} of {clean['of']} clean pictures ({_interval(clean)}), "
    yield (
        f"{victim.classifier}: {accuracy}{victim.outputs}, gradients {victim.zero_gradients:.1%} zero and "
        f"{victim.non_finite_gradients:.1%} not finite, on {counted(victim.pictures, 'picture')}"
    )
    yield from (f"{victim.classifier} {note}" for note in victim.notes)
    yield from (f"RED FLAG, {flag.name}: {flag.sentence}" for flag in victim.flags)


def _rate(rate: Mapping[str, Any], verb: str = "") -> str:
    """Format a rate, such as `3 of 4 succeeded (30 to 95 %)`, with its red flags."""
    text = f"{rate['succeeded']} of {rate['of']}{verb and f' {verb}'}"
    if rate["interval_95"] is not None:
        text += f" ({_interval(rate)})"
    return text + _flagged(rate)


def _interval(rate: Mapping[str, Any]) -> str:
    low, high = rate["interval_95"]
    return f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"


def _worst(report: "Report") -> float:
    return max(image.roundtrip_error for image in report.images if image.roundtrip_error is not None)
