"""What flows where: proven on the declarations, without Ray and without a model's pixels."""

import pyarrow as pa
import pytest

from operators.core.operator import Ports, Step, WiringError, check_wiring
from pipelines.settings import Settings, resolve_settings
from pipelines.steps import isolated_steps, open_steps
from schemas.config import Config
from schemas.flow import PLANNED, STAGED

#: The child is not shown the uri.
START = [name for name in PLANNED.names if name != "uri"]
PIXELS = {"crops_raw", "crops"}


def settings(anonymizer: str = "downsample", protection: str = "drop") -> Settings:
    values = {"privacy": {"anonymizer": anonymizer}, "embed": {"protection": protection}}
    return resolve_settings(Config.model_validate(values))


@pytest.mark.parametrize("protection", ["drop", "raw"])
@pytest.mark.parametrize("anonymizer", ["none", "downsample", "solid", "pixelate", "blur"])
def test_every_chain_ends_in_what_staging_holds(anonymizer: str, protection: str) -> None:
    chosen = settings(anonymizer, protection)
    end = check_wiring(START, [*isolated_steps(chosen), *open_steps(chosen)])
    assert end == set(STAGED.names)


@pytest.mark.parametrize("anonymizer", ["none", "downsample", "solid", "pixelate", "blur"])
def test_no_raw_pixel_leaves_the_child(anonymizer: str) -> None:
    leaving = check_wiring(START, isolated_steps(settings(anonymizer)))
    assert "crops_raw" not in leaving
    if anonymizer == "none":
        assert not leaving & PIXELS


def test_nothing_can_read_the_raw_crops_after_anonymize() -> None:
    class Curious:
        @staticmethod
        def ports() -> Ports:
            return Ports(("crops_raw",), pa.schema([]))

    chosen = settings()
    with pytest.raises(WiringError, match=r"Curious reads.*crops_raw.*dropped before"):
        check_wiring(START, [*isolated_steps(chosen), Step(Curious)])


def test_a_dropped_name_cannot_come_back() -> None:
    class Sneaky:
        @staticmethod
        def ports() -> Ports:
            return Ports((), pa.schema([("crops_raw", pa.binary())]))

    with pytest.raises(WiringError, match="second time"):
        check_wiring(START, [*isolated_steps(settings()), Step(Sneaky)])


def test_no_staged_column_can_hold_a_pixel() -> None:
    """No lists of bytes, no binary: boxes, times, measures and scores are numbers and strings."""

    def leaves(type: pa.DataType) -> list[pa.DataType]:
        if pa.types.is_nested(type):
            return [
                leaf for index in range(type.num_fields) for leaf in leaves(type.field(index).type)
            ]
        return [type]

    for field in STAGED:
        for leaf in leaves(field.type):
            assert not pa.types.is_binary(leaf), field.name
            assert leaf not in (pa.uint8(), pa.int8(), pa.float16()), field.name
