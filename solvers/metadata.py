"""Metadata of the solvers: the paper of each, and its names in other tools."""

from dataclasses import dataclass

DPM_SOLVER = ("Lu et al. 2022", "2206.00927")
DPM_SOLVER_PP = ("Lu et al. 2022", "2211.01095")
DEIS = ("Zhang and Chen 2022", "2204.13902")
EDM = ("Karras et al. 2022", "2206.00364")


@dataclass(frozen=True)
class SolverMetadata:
    """Metadata of one registered solver."""

    paper: tuple[str, str]  # authors with year, arXiv number
    aliases: tuple[str, ...] = ()  # names in web interfaces, in diffusers, in k-diffusion or ComfyUI
    convergence_order: int | None = None  # on smooth grids, if it differs from the solver's `order`


METADATA: dict[str, SolverMetadata] = {
    "ddim": SolverMetadata(("Song et al. 2021", "2010.02502"), ("DDIM", "DDIMScheduler", "ddim")),
    "euler": SolverMetadata(EDM, ("Euler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "euler")),
    "heun": SolverMetadata(EDM, ("Heun", "HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "heun")),
    "dpmpp-2s": SolverMetadata(DPM_SOLVER_PP, ("DPMSolverSinglestepScheduler",)),
    "dpmpp-3s": SolverMetadata(DPM_SOLVER_PP, ("DPMSolverSinglestepScheduler with solver_order 3",)),
    "dpmpp-2m": SolverMetadata(DPM_SOLVER_PP, ("DPM++ 2M", "DPMSolverMultistepScheduler", "dpmpp_2m")),
    "dpmpp-3m": SolverMetadata(
        DPM_SOLVER_PP, ("DPMSolverMultistepScheduler with solver_order 3, where it converges with order 2",)
    ),
    "dpm-1": SolverMetadata(
        DPM_SOLVER, ("DPMSolverSinglestepScheduler with algorithm_type dpmsolver, solver_order 1",)
    ),
    "dpm-2": SolverMetadata(DPM_SOLVER, ("DPM2", "KDPM2DiscreteScheduler", "dpm_2")),
    "dpm-3": SolverMetadata(
        DPM_SOLVER, ("DPMSolverSinglestepScheduler with algorithm_type dpmsolver, solver_order 3",)
    ),
    "dpm-2m": SolverMetadata(DPM_SOLVER, ("DPMSolverMultistepScheduler with algorithm_type dpmsolver",)),
    "dpm-3m": SolverMetadata(
        DPM_SOLVER, ("DPMSolverMultistepScheduler with algorithm_type dpmsolver, solver_order 3",)
    ),
    "sde-dpmpp-1": SolverMetadata(
        DPM_SOLVER_PP,
        ("DDPM", "DDPMScheduler", "DPMSolverMultistepScheduler with algorithm_type sde-dpmsolver++, solver_order 1"),
    ),
    "sde-dpmpp-2m": SolverMetadata(
        DPM_SOLVER_PP,
        ("DPM++ 2M SDE", "DPMSolverMultistepScheduler with algorithm_type sde-dpmsolver++", "dpmpp_2m_sde"),
    ),
    "euler-ancestral": SolverMetadata(
        ("Ho et al. 2020", "2006.11239"), ("Euler a", "EulerAncestralDiscreteScheduler", "euler_ancestral")
    ),
    "unipc": SolverMetadata(
        ("Zhao et al. 2023", "2302.04867"),
        ("UniPC", "UniPCMultistepScheduler", "uni_pc_bh2"),
        convergence_order=3,  # the corrector adds one
    ),
    "flow-dpm": SolverMetadata(
        ("Xie et al. 2024", "2410.10629"), ("Flow-DPM-Solver", "DPMSolverMultistepScheduler with use_flow_sigmas")
    ),
    "deis": SolverMetadata(DEIS, ("DEIS", "DEISMultistepScheduler, its logrho variant", "deis")),
    "ipndm": SolverMetadata(
        DEIS,
        ("iPNDM", "IPNDMScheduler", "ipndm"),
        convergence_order=2,  # the weights are those of equal strides
    ),
    "sa-solver": SolverMetadata(("Xue et al. 2023", "2309.05019"), ("SA-Solver", "SASolverScheduler", "sa_solver")),
    "evodiff": SolverMetadata(("Li, Chen and Zeng 2025", "2509.26096")),
}

TELEPORT = ("Wang and Vastola 2024", "2412.09726")
IIA = ("Zhang et al. 2024", "2304.11328")
CONSISTENCY = ("Wang et al. 2025", "2512.13592")
TUNED_PAPERS: dict[str, tuple[tuple[str, str], ...]] = {
    "dc": (("Zhao et al. 2024", "2409.03755"),),
    "v3": (("Zheng et al. 2023", "2310.13268"),),
    "dode": (("Kim et al. 2024", "2309.16421"),),
    "iia": (IIA,),
    "teleport": (TELEPORT,),
    "teleport-iia": (TELEPORT, IIA),
    "consistency": (CONSISTENCY,),
    "consistency-gradients": (CONSISTENCY,),
}  # papers of tuned solvers, in the form of SolverMetadata.paper
