"""The code location: everything that Dagster loads."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # backfill_policy warns in every process that starts

from evalpipe.defs import assets  # noqa: E402
from evalpipe.defs.checks import CHECKS  # noqa: E402
from evalpipe.defs.jobs import JOBS  # noqa: E402
from evalpipe.defs.resources import HomeResource  # noqa: E402
from evalpipe.defs.schedules import SCHEDULES  # noqa: E402
from evalpipe.defs.sensors import SENSORS  # noqa: E402
from evalpipe.defs.telling import TELLING  # noqa: E402

ASSETS = [asset for asset in dg.load_assets_from_package_module(assets) if isinstance(asset, dg.AssetsDefinition)]

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=[*SENSORS, *TELLING],
    resources={"home": HomeResource()},
    executor=dg.in_process_executor,  # a step of the multiprocess executor costs 3.5 CPU seconds to start
)
